#!/usr/bin/env python3
"""PyTorch and JAX peers of selections, relaxed sorts and partitions: time and memory, forward and with backward.

All forms are written from formulas, except those that the libraries ship; README.md says what each computes.
One JSON line per cell, each cell in a process of its own.
"""

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import resource
import signal
import statistics
import subprocess
import sys
import time

SELECT = "1024x128x8,1024x1024x8,1024x1024x64,16384x128x8,65536x10x8"
SORT = "64x256x8,16x1024x8"
OPS = {
    "gumbel_softmax": SELECT,
    "gumbel_top_k": SELECT,
    "relaxed_top_k": SELECT,
    "sigmoid_top_k": SELECT,
    "nested_subset": ",".join(f"256x{n}x{k}" for n in (128, 1024, 4096, 16384) for k in (8, 16, 32)),
    "subset_marginals": "1024x128x8,1024x1024x8",
    "neural_sort": SORT,
    "soft_sort": SORT,
    "partition": "64x256x10,16x1024x10",
    "sparsemax": "1024x4096x1",
    "entmax15": "1024x4096x1",
}
NOISY = ("gumbel_softmax", "gumbel_top_k", "relaxed_top_k", "sigmoid_top_k", "nested_subset", "partition")
TAU = 0.5
MEGABYTE = 1 << 20
BLOCK_S = 0.3


def torch_forms():
    """Functions of (perturbed) scores [rows, n], k, and for some of what a row has besides: features or masks."""
    import torch
    import torch.nn.functional as F

    def gumbel_top_k(z, k):
        return z.topk(k).values

    def relaxed_top_k(z, k):
        y = (z / TAU).softmax(1)
        chosen = y
        for _ in range(k - 1):
            z = z + (1 - y).clamp(min=torch.finfo(z.dtype).tiny).log()
            y = (z / TAU).softmax(1)
            chosen = chosen + y
        return chosen

    def nested_subset(z, k, counts):
        # counts [rows, k]: of 1 .. k elements
        used = (counts / TAU).softmax(1).flip(1).cumsum(1).flip(1)
        mask = 0
        for slot in range(k):
            y = (z / TAU).softmax(1)
            mask = mask + used[:, slot : slot + 1] * y
            z = z + (1 - y).clamp(min=1e-6).log()
        return mask

    def sigmoid_top_k(z, k):
        with torch.no_grad():
            logit = TAU * math.log(k / (z.shape[1] - k))
            low, high = z.amin(1, keepdim=True) - logit, z.amax(1, keepdim=True) - logit
            for _ in range(40):
                middle = (low + high) / 2
                above = ((z - middle) / TAU).sigmoid().sum(1, keepdim=True) > k
                low, high = torch.where(above, middle, low), torch.where(above, high, middle)
            y = ((z - low) / TAU).sigmoid()
            slope = (y * (1 - y)).sum(1, keepdim=True)
        # A Newton step with a constant slope: its gradient is that of the implicit function theorem.
        threshold = low + TAU * (((z - low) / TAU).sigmoid().sum(1, keepdim=True) - k) / slope
        return ((z - threshold) / TAU).sigmoid()

    def subset_marginals(z, k):
        twice = torch.is_grad_enabled()
        with torch.enable_grad():
            z = z if z.requires_grad else z.detach().requires_grad_()
            table = torch.zeros_like(z[:, :1])  # log e_0, log e_1, .. of the columns so far
            for column in z.unbind(1):
                taken = table + column[:, None]
                parts = [table[:, :1], torch.logaddexp(table[:, 1:], taken[:, :-1]), taken[:, -1:]]
                table = torch.cat(parts[: 3 if table.shape[1] <= k else 2], 1)
            return torch.autograd.grad(table[:, k].sum(), z, create_graph=twice)[0]

    def neural_sort_matrix(s, tau=TAU):
        n, scores = s.shape[1], s.double()
        spread = (scores[:, :, None] - scores[:, None]).abs().sum(2)
        scaling = n - 1 - 2 * torch.arange(n, dtype=scores.dtype)
        return ((scaling[:, None] * scores[:, None] - spread[:, None]) / tau).softmax(2).to(s.dtype)

    def soft_sort_matrix(s, tau=TAU):
        ordered = s.sort(1, descending=True).values
        return (-(ordered[:, :, None] - s[:, None]).abs() / tau).softmax(2)

    def partition(s, k, masks, tau=TAU):
        n = s.shape[1]
        before = torch.zeros_like(masks[:, 0])  # 1 at the ranks of the groups so far
        blocks = []
        for mask in masks.unbind(1):
            start = torch.cat([1 - before[:, :1], -before.diff(dim=1)], 1)
            shifted = F.pad(mask, (n - 1, 0)).unfold(1, n, 1)  # row n - 1 - s is the mask moved s ranks on
            block = torch.einsum("rs,rsi->ri", start.flip(1), shifted)
            before = before + block
            blocks.append(block)
        return torch.stack(blocks, 1) @ neural_sort_matrix(s, tau)

    def rank_like(z):
        return torch.arange(1, z.shape[1] + 1, dtype=z.dtype)

    def sparsemax(z, k):
        with torch.no_grad():
            top = z.sort(1, descending=True).values
            excess = top.cumsum(1) - 1
            count = (top * rank_like(z) > excess).sum(1, keepdim=True)
            threshold = excess.gather(1, count - 1) / count
            count = (z > threshold).sum(1, keepdim=True)
        threshold = threshold + ((z - threshold).relu().sum(1, keepdim=True) - 1) / count
        return (z - threshold).relu()

    def entmax15(z, k):
        z = (z - z.amax(1, keepdim=True).detach()) / 2
        with torch.no_grad():
            top, rank = z.sort(1, descending=True).values, rank_like(z)
            mean, square = top.cumsum(1) / rank, top.square().cumsum(1) / rank
            thresholds = mean - (1 / rank - square + mean.square()).clamp(min=0).sqrt()
            count = (thresholds <= top).sum(1, keepdim=True)
            threshold = thresholds.gather(1, count - 1)
            slope = 2 * (z - threshold).relu().sum(1, keepdim=True)
        threshold = threshold + ((z - threshold).relu().square().sum(1, keepdim=True) - 1) / slope
        return (z - threshold).relu().square()

    return {
        "gumbel_softmax": lambda z, k: (z / TAU).softmax(1),
        "gumbel_top_k": gumbel_top_k,
        "relaxed_top_k": relaxed_top_k,
        "sigmoid_top_k": sigmoid_top_k,
        "nested_subset": nested_subset,
        "subset_marginals": subset_marginals,
        "neural_sort": lambda s, k, x, tau=TAU: neural_sort_matrix(s, tau) @ x,
        "soft_sort": lambda s, k, x, tau=TAU: soft_sort_matrix(s, tau) @ x,
        "partition": partition,
        "sparsemax": sparsemax,
        "entmax15": entmax15,
    }


def jax_forms():
    """The same for JAX."""
    import jax
    import jax.numpy as jnp

    constant = jax.lax.stop_gradient

    def relaxed_top_k(z, k):
        def choose(carry, _):
            z, chosen = carry
            y = jax.nn.softmax(z / TAU)
            return (z + jnp.log(jnp.maximum(1 - y, jnp.finfo(z.dtype).tiny)), chosen + y), None

        return jax.lax.scan(choose, (z, jnp.zeros_like(z)), length=k)[0][1]

    def nested_subset(z, k, counts):
        used = jnp.cumsum(jax.nn.softmax(counts / TAU)[:, ::-1], 1)[:, ::-1]

        def choose(carry, used):
            z, mask = carry
            y = jax.nn.softmax(z / TAU)
            return (z + jnp.log(jnp.maximum(1 - y, 1e-6)), mask + used[:, None] * y), None

        return jax.lax.scan(choose, (z, jnp.zeros_like(z)), used.T)[0][1]

    def sigmoid_top_k(z, k):
        fixed = constant(z)
        logit = TAU * math.log(k / (z.shape[1] - k))

        def halve(_, bounds):
            low, high = bounds
            middle = (low + high) / 2
            above = jax.nn.sigmoid((fixed - middle) / TAU).sum(1, keepdims=True) > k
            return jnp.where(above, middle, low), jnp.where(above, high, middle)

        bounds = fixed.min(1, keepdims=True) - logit, fixed.max(1, keepdims=True) - logit
        low = jax.lax.fori_loop(0, 40, halve, bounds)[0]
        y = jax.nn.sigmoid((z - low) / TAU)
        slope = constant((y * (1 - y)).sum(1, keepdims=True))
        return jax.nn.sigmoid((z - low) / TAU - (y.sum(1, keepdims=True) - k) / slope)

    def subset_marginals(z, k):
        def log_e(z):
            def add(table, column):
                taken = table[:, :-1] + column[:, None]
                return jnp.concatenate([table[:, :1], jnp.logaddexp(table[:, 1:], taken)], 1), None

            table = jnp.full((len(z), k + 1), -1e30, z.dtype).at[:, 0].set(0)
            return jax.lax.scan(add, table, z.T)[0][:, k].sum()

        return jax.grad(log_e)(z)

    def neural_sort_matrix(s, tau=TAU):
        n, scores = s.shape[1], s.astype("float64")
        spread = jnp.abs(scores[:, :, None] - scores[:, None]).sum(2)
        scaling = n - 1 - 2 * jnp.arange(n)
        return jax.nn.softmax((scaling[:, None] * scores[:, None] - spread[:, None]) / tau).astype(s.dtype)

    def soft_sort_matrix(s, tau=TAU):
        ordered = jnp.sort(s, 1, descending=True)
        return jax.nn.softmax(-jnp.abs(ordered[:, :, None] - s[:, None]) / tau)

    def partition(s, k, masks, tau=TAU):
        n = s.shape[1]
        moved = jnp.arange(n) - jnp.arange(n)[:, None] + n
        before = jnp.zeros_like(masks[:, 0])
        blocks = []
        for i in range(k):
            start = jnp.concatenate([1 - before[:, :1], -jnp.diff(before)], 1)
            shifted = jnp.pad(masks[:, i], ((0, 0), (n, 0)))[:, moved]
            blocks.append(jnp.einsum("rs,rsi->ri", start, shifted))
            before = before + blocks[-1]
        return jnp.stack(blocks, 1) @ neural_sort_matrix(s, tau)

    def sparsemax(z, k):
        top = jnp.sort(constant(z), 1, descending=True)
        excess = jnp.cumsum(top, 1) - 1
        count = (top * jnp.arange(1, z.shape[1] + 1) > excess).sum(1, keepdims=True)
        threshold = jnp.take_along_axis(excess, count - 1, 1) / count
        count = (constant(z) > threshold).sum(1, keepdims=True)
        threshold = threshold + (jax.nn.relu(z - threshold).sum(1, keepdims=True) - 1) / count
        return jax.nn.relu(z - threshold)

    def entmax15(z, k):
        z = (z - constant(z.max(1, keepdims=True))) / 2
        top, rank = jnp.sort(constant(z), 1, descending=True), jnp.arange(1, z.shape[1] + 1)
        mean, square = jnp.cumsum(top, 1) / rank, jnp.cumsum(top**2, 1) / rank
        thresholds = mean - jnp.sqrt(jnp.maximum(1 / rank - square + mean**2, 0))
        count = (thresholds <= top).sum(1, keepdims=True)
        threshold = jnp.take_along_axis(thresholds, count - 1, 1)
        slope = 2 * constant(jax.nn.relu(z - threshold).sum(1, keepdims=True))
        threshold = threshold + ((jax.nn.relu(z - threshold) ** 2).sum(1, keepdims=True) - 1) / slope
        return jax.nn.relu(z - threshold) ** 2

    return {
        "gumbel_softmax": lambda z, k: jax.nn.softmax(z / TAU),
        "gumbel_top_k": lambda z, k: jax.lax.top_k(z, k)[0],
        "relaxed_top_k": relaxed_top_k,
        "sigmoid_top_k": sigmoid_top_k,
        "nested_subset": nested_subset,
        "subset_marginals": subset_marginals,
        "neural_sort": lambda s, k, x, tau=TAU: neural_sort_matrix(s, tau) @ x,
        "soft_sort": lambda s, k, x, tau=TAU: soft_sort_matrix(s, tau) @ x,
        "partition": partition,
        "sparsemax": sparsemax,
        "entmax15": entmax15,
    }


def torch_cell(op, rows, n, k):
    """A forward, a step, and the versions."""
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)
    torch.manual_seed(0)
    form, versions = torch_forms()[op], {"torch": torch.__version__}
    if op == "gumbel_softmax":
        form = lambda x, k: F.gumbel_softmax(x, TAU)
    elif op in NOISY:
        quiet = form
        noisy = lambda x: x - torch.empty_like(x).exponential_().log()
        form = lambda x, k, *rest: quiet(noisy(x), k, *(map(noisy, rest) if op == "nested_subset" else rest))
    elif op in ("sparsemax", "entmax15") and importlib.util.find_spec("entmax"):
        import entmax

        form = lambda x, k: getattr(entmax, op)(x, dim=1)
        versions["entmax"] = importlib.metadata.version("entmax")
    leaves = [torch.randn(rows, n, requires_grad=True)]
    if op == "partition":
        sizes = n / k + torch.rand(rows, k, 1) - 0.5
        leaves.append((sizes - 0.5 - torch.arange(n)).sigmoid().requires_grad_())
    if op == "nested_subset":
        leaves.append(torch.randn(rows, k, requires_grad=True))
    rest = [torch.randn(rows, n, k)] if op.endswith("sort") else []
    shape = {"gumbel_top_k": (rows, k), "partition": (rows, k, n)}.get(op, rest[0].shape if rest else (rows, n))
    cotangent = torch.randn(shape)

    def forward(_):
        with torch.no_grad():
            form(leaves[0], k, *leaves[1:], *rest)

    def step(_):
        form(leaves[0], k, *leaves[1:], *rest).backward(cotangent)
        for leaf in leaves:
            leaf.grad = None

    return forward, step, versions


def jax_cell(op, rows, n, k):
    """A forward, a step, both compiled, and the version."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", op in ("neural_sort", "partition"))
    form = jax_forms()[op]

    def noisy(seed, scores, *rest):
        if op in NOISY:
            scores = scores + jax.random.gumbel(jax.random.key(seed), scores.shape, scores.dtype)
        if op == "nested_subset":
            rest = [rest[0] + jax.random.gumbel(jax.random.key(seed + 64), rest[0].shape, scores.dtype)]
        return form(scores, k, *rest)

    def gradient(seed, leaves, rest, cotangent):
        out, pull = jax.vjp(lambda *leaves: noisy(seed, *leaves, *rest), *leaves)
        return out, pull(cotangent)

    normal = lambda seed, shape: jax.random.normal(jax.random.key(seed), shape, "float32")
    leaves = [normal(1, (rows, n))]
    if op == "partition":
        sizes = n / k + jax.random.uniform(jax.random.key(2), (rows, k, 1), "float32") - 0.5
        leaves.append(jax.nn.sigmoid(sizes - 0.5 - jnp.arange(n)).astype("float32"))
    if op == "nested_subset":
        leaves.append(normal(2, (rows, k)))
    rest = [normal(3, (rows, n, k))] if op.endswith("sort") else []
    shape = {"gumbel_top_k": (rows, k), "partition": (rows, k, n)}.get(op, rest[0].shape if rest else (rows, n))
    cotangent = normal(4, shape)
    seeds = list(jnp.arange(64, dtype="uint32"))
    forward = jax.jit(noisy).lower(seeds[0], *leaves, *rest).compile()
    step = jax.jit(gradient).lower(seeds[0], leaves, rest, cotangent).compile()
    return (
        lambda i: jax.block_until_ready(forward(seeds[i % 64], *leaves, *rest)),
        lambda i: jax.block_until_ready(step(seeds[i % 64], leaves, rest, cotangent)),
        {"jax": jax.__version__},
    )


def status_mb(field):
    """VmRSS, VmHWM (its peak) or VmData of this process (Linux)."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def measure(library, op, shape, arguments):
    """One cell: a step and a forward to warm up, then `repeats` that count, or as many as the time limit allows."""
    if library == "torch":
        for call in torch_cell(op, 4, 2 * shape[2], shape[2])[:2]:
            call(0)  # loads code that is no part of a step's memory
    forward, step, versions = (torch_cell if library == "torch" else jax_cell)(op, *shape)
    spent = math.ceil(time.process_time() + arguments.time_limit_s)
    resource.setrlimit(resource.RLIMIT_CPU, (spent, spent + 5))  # SIGXCPU ends a step that never comes back
    data = int((status_mb("VmData") + arguments.memory_limit_mb) * MEGABYTE)
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    with open("/proc/self/clear_refs", "w", encoding="ascii") as peak:
        peak.write("5")  # VmHWM starts anew: a compiler's peak is no part of a step
    before = status_mb("VmRSS")

    def block(call, times):
        """CPU and wall milliseconds: the mean over `times` in a row."""
        cpu, wall = time.process_time(), time.perf_counter()
        for i in range(times):
            call(i)
        return 1e3 * (time.process_time() - cpu) / times, 1e3 * (time.perf_counter() - wall) / times

    def enough(call):
        """Process time comes in ticks of up to 10 ms, so what is short is timed many at once."""
        call(0)
        return max(1, math.ceil(1e3 * BLOCK_S / block(call, 1)[1]))

    begin = time.process_time()
    of_step, of_forward = enough(step), enough(forward)
    forwards, steps = [], []
    while len(steps) < arguments.repeats:
        start = time.process_time()
        forwards.append(block(forward, of_forward))
        steps.append(block(step, of_step))
        now = time.process_time()
        if now - begin + 1.2 * (now - start) > arguments.time_limit_s:
            break
    figures = {
        "forward_cpu_ms": statistics.median(cpu for cpu, _ in forwards),
        "step_cpu_ms": statistics.median(cpu for cpu, _ in steps),
        "step_wall_ms": statistics.median(wall for _, wall in steps),
        "peak_mb": status_mb("VmHWM") - before,
    }
    return {name: round(value, 3) for name, value in figures.items()} | {"repeats": len(steps)} | versions


def child(library, op, shape, arguments):
    try:
        result = measure(library, op, shape, arguments)
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        result = {"oom": True}
    print(json.dumps(result))


def run_cell(library, op, shape, arguments):
    """The record of a cell, measured in a fresh process of one thread."""
    rows, n, k = shape
    record = {"form": f"{library}-{op}", "rows": rows, "n": n, "k": k}
    command = [sys.executable, __file__, f"--cell={library}", f"--ops={op}", f"--shapes={rows}x{n}x{k}"]
    command += [f"--repeats={arguments.repeats}", f"--memory-limit-mb={arguments.memory_limit_mb}"]
    command += [f"--time-limit-s={arguments.time_limit_s}"]
    threads = {"OMP_NUM_THREADS": "1", "NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    environment = os.environ | threads | {"JAX_PLATFORMS": "cpu"}
    if arguments.keep_heap:
        limits = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
        environment |= {name: str(1 << 40) for name in limits}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return record | {"slow" if done.returncode == -signal.SIGXCPU else "oom": True}
    if done.returncode:
        sys.exit(f"{record['form']} {rows}x{n}x{k}: exit status {done.returncode}")
    return record | json.loads(done.stdout)


def check(with_jax):
    """The forms against enumeration, against differences, against what the limit is, and against each other."""
    import torch

    failures = 0

    def expect(what, difference, bound):
        nonlocal failures
        passes = float(difference) <= bound  # false for NaN
        failures += not passes
        print(f"{'ok    ' if passes else 'FAILED'} {what}: {float(difference):.3g} (at most {bound:.3g})")

    torch.manual_seed(1)
    forms = torch_forms()
    rows, n, k = 5, 7, 3
    scores = torch.randn(rows, n, dtype=torch.float64)
    features = torch.randn(rows, n, 2, dtype=torch.float64)
    masks = torch.rand(rows, k, n, dtype=torch.float64).sort(2, descending=True).values
    counts = torch.randn(rows, k, dtype=torch.float64)
    rest = {"neural_sort": [features], "soft_sort": [features], "partition": [masks], "nested_subset": [counts]}

    subsets = torch.tensor([[i in chosen for i in range(n)] for chosen in itertools.combinations(range(n), k)]).double()
    truth = (scores @ subsets.T).softmax(1) @ subsets
    marginals = forms["subset_marginals"](scores, k).detach()
    expect("subset_marginals against enumeration", (marginals - truth).abs().max(), 1e-12)
    for op, total in (("sigmoid_top_k", k), ("relaxed_top_k", k), ("sparsemax", 1), ("entmax15", 1)):
        expect(f"{op}, sum of a row", (forms[op](scores, k).sum(1) - total).abs().max(), 1e-9)
    mean = (counts / TAU).softmax(1) @ torch.arange(1, k + 1, dtype=torch.float64)
    masks_of = forms["nested_subset"](scores, k, counts).sum(1)
    expect("nested_subset, sum of a row against the mean count", (masks_of - mean).abs().max(), 1e-9)
    order = scores.argsort(1, descending=True)
    sorted_features = features.gather(1, order[:, :, None].expand(-1, -1, 2))
    for op in ("neural_sort", "soft_sort"):
        expect(f"{op}, cold", (forms[op](scores, k, features, 1e-4) - sorted_features).abs().max(), 1e-6)
    sizes = torch.tensor([2, 0, 5])
    hard = (torch.arange(n) < sizes[:, None]).double().expand(rows, k, n)
    place = order.argsort(1)
    groups = torch.stack([place < 2, place < 0, place >= 2], 1).double()
    expect("partition, cold, hard masks", (forms["partition"](scores, k, hard, 1e-4) - groups).abs().max(), 1e-6)
    if importlib.util.find_spec("entmax"):
        import entmax

        for op in ("sparsemax", "entmax15"):
            truth = getattr(entmax, op)(scores, dim=1)
            expect(f"{op} against entmax", (forms[op](scores, k) - truth).abs().max(), 1e-9)

    if with_jax:
        import jax

        jax.config.update("jax_enable_x64", True)
        others = jax_forms()
    for op in OPS:
        leaves = [scores.clone().requires_grad_()] + [value.clone().requires_grad_() for value in rest.get(op, [])]
        function = lambda *leaves: forms[op](leaves[0], k, *leaves[1:])
        expect(f"{op}, gradient against differences", not torch.autograd.gradcheck(function, leaves), 0)
        if with_jax:
            out = function(*leaves)
            cotangent = torch.randn_like(out)
            arrays = [jax.numpy.array(leaf.tolist()) for leaf in leaves]
            theirs, pull = jax.vjp(lambda *leaves: others[op](leaves[0], k, *leaves[1:]), *arrays)
            pairs = zip(torch.autograd.grad(out, leaves, cotangent), pull(jax.numpy.array(cotangent.tolist())))
            pairs = [(out.detach(), theirs), *pairs]
            worst = max((a - torch.tensor(b.tolist()).to(a)).abs().max() for a, b in pairs)
            expect(f"{op}, jax - torch", worst, 1e-6)
    sys.exit(failures > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ops", default=",".join(OPS))
    parser.add_argument("--shapes", help="ROWSxNxK, separated by commas; by default those of each op")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-limit-mb", type=float, default=11000)
    parser.add_argument("--time-limit-s", type=float, default=60, help="of a cell, all its repeats (CPU seconds)")
    parser.add_argument("--keep-heap", action="store_true", help="glibc keeps freed pages: see README.md")
    parser.add_argument("--check", action="store_true", help="check the forms instead of timing them")
    parser.add_argument("--cell", help=argparse.SUPPRESS)  # this process is the cell's own
    arguments = parser.parse_args()
    ops = arguments.ops.split(",")
    if unknown := set(ops) - set(OPS):
        parser.error(f"--ops: {', '.join(sorted(unknown))} is none of {', '.join(OPS)}")
    shapes = lambda op: (arguments.shapes or OPS[op]).split(",")
    cells = [(op, tuple(map(int, shape.split("x")))) for op in ops for shape in shapes(op)]
    if arguments.cell:
        return child(arguments.cell, *cells[0], arguments)
    with_jax = importlib.util.find_spec("jax") is not None
    if not with_jax:
        print("jax cannot be imported: its forms are left out", file=sys.stderr)
    if arguments.check:
        check(with_jax)
    for op, shape in cells:
        for library in ("torch", "jax")[: 1 + with_jax]:
            print(json.dumps(run_cell(library, op, shape, arguments)), flush=True)


if __name__ == "__main__":
    main()
