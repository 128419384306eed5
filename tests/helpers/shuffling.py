"""One process of `test_examples.py`: an epoch of images of a usual size, and what memory it took.

Nothing is kept between epochs, as with data that are larger than the memory.
"""

import resource
import sys

from image_data import image_spec
from streaming import write

from modules.data import examples
from modules.settings import DataSettings

SETTINGS = DataSettings(validation_fraction=0.01)
SPEC = image_spec(224, 3)
SHAPE = (224, 224, 3)


def _peak():
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(directory, count):
    examples._CACHE_LIMIT = 0
    write(f"{directory}/examples.gz", int(count), SHAPE)
    data = examples.ExampleData([f"{directory}/examples.gz"], SPEC, SETTINGS)
    order = examples.Order(32, 0)
    before, seen, first = _peak(), 0, []
    for inputs, _ in data.training(order):
        pixels = inputs["image"]
        seen += len(pixels)
        if len(first) < 20:
            first.append(int(pixels[0, 0, 0, 0]))
    print(seen, len(set(first)), _peak() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
