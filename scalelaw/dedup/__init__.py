"""Near-duplicates of held-out images among training images: found, shown, and listed for the trainer to leave out.

An image is shrunk to 32 x 32 bytes of luminance. The signs of its 64 lowest frequencies are its hash. Held-out images
are looked up in 34 views each (cropped and widened a little at every edge, mirrored), exactly, within a radius of 12
bits; pairs so near are laid over one another, and are one image where the correlation of their edges is 0.75 or more.
Equal bytes are found without any of this. It needs no trainer: NumPy and pyarrow, and Pillow for encoded images.
"""
