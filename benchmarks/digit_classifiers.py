"""Train the digit classifiers of PolyMNIST-5k, or read them from the cache; print accuracies.

Usage: python benchmarks/digit_classifiers.py [--epochs 4] [--seed 0] [--cache FOLDER]
"""

import argparse
import time

from cmvae.datasets import polymnist_5k
from cmvae.metrics import train_classifiers

WANTED = 0.95


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default=None, help="default: $CMVAE_CACHE or ~/.cache/cmvae")
    arguments = parser.parse_args()
    train, test = (polymnist_5k(split, cache=arguments.cache) for split in ("train", "test"))
    start = time.perf_counter()
    trained = train_classifiers(
        train, test, epochs=arguments.epochs, seed=arguments.seed, cache=arguments.cache
    )
    print(f"{time.perf_counter() - start:.1f} s")
    for name, accuracy in trained.accuracy.items():
        print(f"{name}  {100 * accuracy:5.2f} %{'' if accuracy >= WANTED else '  below 95 %'}")


if __name__ == "__main__":
    main()
