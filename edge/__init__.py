"""The room of the Pi: numpy, OpenCV and a TFLite interpreter, nothing of the other rooms."""
