"""The vision pipeline: encoded image -> faces -> landmarks -> warps -> descriptors and estimations.

Knows numpy, OpenCV and the runtime protocol; knows nothing of threads, requests or storage. Images are uint8
[height, width, 3], RGB. Points are float [n, 2], (x, y) in pixels, where (0, 0) is the centre of the first pixel.
"""
