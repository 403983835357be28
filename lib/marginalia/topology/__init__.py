"""The shape of a point cloud: persistence diagrams, images, RipsNet, distillation."""
