"""edge_runtime as a ROS 2 lifecycle node."""
