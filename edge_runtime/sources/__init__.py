"""Where sound and pictures come from: recordings, microphones, cameras."""
