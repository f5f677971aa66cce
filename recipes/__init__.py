"""What runs inside an image, and the data it runs on."""
