"""Slow, independent references: the array walked tile by tile and PE by PE, in plain loops.

Written from METHOD section 2 alone; shares nothing with `efat.hardware.mapping`.
"""

import numpy as np


def pe_of_conv_weight(o, i, y, x, shape, rows, cols, order, groups=1):
    outputs, inputs, kernel_h, kernel_w = shape
    column = o % (outputs // groups)  # each group is a matrix product that starts at PE(0, 0)
    if order == "channel":
        k = i
    elif order == "im2col":
        k = (i * kernel_h + y) * kernel_w + x
    else:
        k = (y * kernel_w + x) * inputs + i
    return k % rows, column % cols


def walk_conv2d(image, weight, faulty, order, groups=1, stride=1, padding=0):
    """Convolve on the array: every MAC is looked at, those of faulty PEs pass the sum through."""
    rows, cols = faulty.shape
    outputs, inputs, kernel_h, kernel_w = weight.shape
    image = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    height = (image.shape[1] - kernel_h) // stride + 1
    width = (image.shape[2] - kernel_w) // stride + 1
    result = np.zeros((outputs, height, width), dtype=image.dtype)
    for o in range(outputs):
        first = o // (outputs // groups) * inputs
        for row in range(height):
            for col in range(width):
                psum = 0
                for i in range(inputs):
                    for y in range(kernel_h):
                        for x in range(kernel_w):
                            pe = pe_of_conv_weight(
                                o, i, y, x, weight.shape, rows, cols, order, groups
                            )
                            if not faulty[pe]:
                                pixel = image[first + i, row * stride + y, col * stride + x]
                                psum += pixel * weight[o, i, y, x]
                result[o, row, col] = psum
    return result


def walk_linear(vector, weight, faulty):
    """Multiply tile by tile: a tile of weights is loaded, the partial sums run down its rows."""
    rows, cols = faulty.shape
    outputs, inputs = weight.shape
    result = np.zeros(outputs, dtype=vector.dtype)
    for m0 in range(0, outputs, cols):
        for k0 in range(0, inputs, rows):
            for c in range(min(cols, outputs - m0)):
                for r in range(min(rows, inputs - k0)):
                    if not faulty[r, c]:
                        result[m0 + c] += vector[k0 + r] * weight[m0 + c, k0 + r]
    return result
