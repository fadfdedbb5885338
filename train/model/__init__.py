"""The U-Net, its losses, and loading and saving Keras models."""
