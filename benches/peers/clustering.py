#!/usr/bin/env python3
"""Deep clustering by ClustPy, and UMAP with a Gaussian mixture: scores and CPU time, one JSON line per run.

README.md says what each method is. Labels are used for the scores only.
"""

import argparse
import gzip
import json
import os
import time
import warnings

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[name] = "1"
os.environ["TQDM_DISABLE"] = "1"

import numpy as np

METHODS = ("vade", "dec", "idec", "umap-gmm", "kmeans")


def read_idx(path, rows):
    """The first rows of an idx file of bytes."""
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        head = file.read(4)
        if head[:3] != b"\x00\x00\x08":
            raise SystemExit(f"{path} is no idx file of bytes")
        shape = np.frombuffer(file.read(4 * head[3]), ">u4").astype(int)
        shape[0] = min(shape[0], rows or shape[0])
        return np.frombuffer(file.read(int(shape.prod())), np.uint8).reshape(shape)


def load(options):
    """Pixels in [0, 1] as [rows, columns] in f32, and labels."""
    if options.data == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return (x[: options.rows] / 16).astype(np.float32), y[: options.rows]
    x, y = read_idx(options.data, options.rows), read_idx(options.labels, options.rows)
    return (x.reshape(len(x), -1) / 255).astype(np.float32), y.astype(int)


def pretrained(kind, x, seed, options):
    """A network of ClustPy after its pretraining, and the CPU seconds of that; `kind` is vade or not."""
    import torch
    from clustpy.deep.neural_networks import FeedforwardAutoencoder
    from clustpy.deep.vade import _VaDE_VAE  # what VaDE() makes where no network is given

    torch.set_num_threads(1)
    layers = [x.shape[1], *options.hidden, options.latent]
    start = time.process_time()
    if kind == "vade":
        network, extra = _VaDE_VAE(layers, random_state=seed), {"ssl_loss_fn": torch.nn.BCELoss(reduction="sum")}
    else:
        network, extra = FeedforwardAutoencoder(layers, random_state=seed), {}
    network.fit(options.pretrain_epochs, {"lr": 1e-3}, options.batch, data=x, **extra)
    return network, time.process_time() - start


def deep(method, x, seed, network, options):
    from clustpy.deep import DEC, IDEC, VaDE

    kind = {"vade": VaDE, "dec": DEC, "idec": IDEC}[method]
    # A network that is fitted is not pretrained again; ClustPy trains a copy of it.
    settings = {"batch_size": options.batch, "clustering_epochs": options.epochs, "random_state": seed}
    return kind(options.k, neural_network=network, embedding_size=options.latent, **settings).fit(x).labels_


def plain(method, x, seed, options):
    if method == "kmeans":
        from sklearn.cluster import KMeans

        return KMeans(options.k, n_init=10, random_state=seed).fit_predict(x)
    from sklearn.mixture import GaussianMixture
    from umap import UMAP

    embedded = UMAP(n_components=10, n_neighbors=10, min_dist=0.0, random_state=seed).fit_transform(x)
    return GaussianMixture(options.k, random_state=seed).fit_predict(embedded)


def scores(truth, labels):
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    table = contingency_matrix(truth, labels)
    return {
        "accuracy": table[linear_sum_assignment(-table)].sum() / len(truth),
        "nmi": normalized_mutual_info_score(truth, labels),
        "ari": adjusted_rand_score(truth, labels),
    }


def numbers(text):
    return [int(word) for word in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--data", default="digits", help="digits, or an idx file, also as .gz")
    parser.add_argument("--labels", help="an idx file")
    parser.add_argument("--rows", type=int, help="take the first rows only")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2, 3, 4])
    parser.add_argument("--hidden", type=numbers, default=[256, 128])
    parser.add_argument("--latent", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--pretrain-epochs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=150)
    options = parser.parse_args()
    methods = options.methods.split(",")
    if unknown := set(methods) - set(METHODS):
        parser.error(f"--methods: {', '.join(sorted(unknown))}; there are {', '.join(METHODS)}")
    if options.data != "digits" and not options.labels:
        parser.error("--labels is needed beside a file")
    warnings.filterwarnings("ignore")
    x, truth = load(options)
    if "umap-gmm" in methods:
        plain("umap-gmm", x[:4200], 0, options)  # UMAP compiles at first; from 4,096 rows on it does otherwise

    for seed in options.seeds:
        networks = {}  # DEC and IDEC start with the same one
        for method in methods:
            figures = {"dataset": options.data, "rows": len(x), "method": method, "seed": seed}
            if method in ("vade", "dec", "idec"):
                kind = "vade" if method == "vade" else "autoencoder"
                if kind not in networks:
                    networks[kind] = pretrained(kind, x, seed, options)
                network, seconds = networks[kind]
                figures |= {"pretrain_epochs": options.pretrain_epochs, "pretrain_cpu_s": seconds}
                start = time.process_time()
                labels = deep(method, x, seed, network, options)
                figures |= {"epochs": options.epochs}
            else:
                start = time.process_time()
                labels = plain(method, x, seed, options)
            figures["cpu_s"] = time.process_time() - start
            for phase in ("pretrain_", ""):
                if figures.get(f"{phase}epochs"):
                    figures[f"{phase}cpu_s_per_epoch"] = figures[f"{phase}cpu_s"] / figures[f"{phase}epochs"]
            print(json.dumps(figures | scores(truth, labels)), flush=True)


if __name__ == "__main__":
    main()
