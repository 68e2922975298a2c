#!/usr/bin/env python3
"""PyTorch peers of the hypergeometric kernels: time and memory of a draw and of its backward pass.

P(x) is proportional to prod_i C(m, x_i) w_i^x_i over sum_i x_i = n (Fisher's noncentral law), m items in every group.
Written from the formulas of arXiv 2203.01629 (the merged forms) and from log-space convolution (the exact form);
README.md says what each form computes. One JSON line or table row per cell, each cell in a process of its own.
"""

import argparse
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

os.environ["OMP_NUM_THREADS"] = "1"  # before torch, which reads it once
import torch

FORMS = ("merged-dense", "merged-cumsum", "exact")
MEGABYTE = 1 << 20
BLOCK_S = 0.3


def log_choose(size, length, like):
    """log C(size, k) for k = 0..length-1, formed in f64: f32 lgamma of a thousand is good to 5e-4 only."""
    k = torch.arange(length, device=like.device, dtype=torch.float64)
    table = math.lgamma(size + 1) - torch.lgamma(k + 1) - torch.lgamma(size - k + 1)
    return table.to(like)


def gumbel_like(logits):
    """Standard Gumbel noise from uniforms: 3 times as fast on a CPU as F.gumbel_softmax's exponential_()."""
    return -(-torch.rand_like(logits).clamp_(min=1e-38).log()).log()


def merged(log_weights, size, draws, tau, dense):
    """Counts, log-prob of the draw: one group after another against the rest, taken as one group of the mean weight."""
    rows, groups = log_weights.shape
    k = torch.arange(size + 1, device=log_weights.device, dtype=log_weights.dtype)
    choose = log_choose(size, size + 1, log_weights)
    left = torch.full_like(log_weights[:, :1], draws)
    counts, log_prob = [], 0
    for i in range(groups - 1):
        rest = (groups - 1 - i) * size
        mean_weight = log_weights[:, i + 1 :].logsumexp(1, keepdim=True) - math.log(groups - 1 - i)
        outside = (k > left) | (left - k > rest)
        # `where`, not `clamp`, whose gradient is 0 at the boundary k = left, which is inside the support.
        others = torch.where(outside, 0.0, left - k)
        logits = choose + k * (log_weights[:, i : i + 1] - mean_weight)
        logits = logits - torch.lgamma(others + 1) - torch.lgamma(rest - others + 1)
        logits = logits.masked_fill(outside, -math.inf)
        soft = ((logits + gumbel_like(logits)) / tau).softmax(1)
        drawn = soft.argmax(1, keepdim=True)
        one_hot = torch.zeros_like(soft).scatter_(1, drawn, 1.0) - soft.detach() + soft
        if dense:
            mask = (one_hot[:, None] @ one_hot.new_ones(rows, size + 1, size + 1).tril())[:, 0]
        else:
            mask = one_hot.flip(1).cumsum(1).flip(1)
        count = mask.sum(1, keepdim=True) - 1  # mask_k = 1 where k <= count
        log_prob = log_prob + logits.gather(1, drawn) - logits.logsumexp(1, keepdim=True)
        left = left - count
        counts.append(count)
    return torch.cat([*counts, left], 1), log_prob[:, 0]


def suffix_tables(log_weights, size, draws):
    """Terms log C(m, k) + k log w_i, and Z_i(s): the log of their convolution over groups i.. at total s (i > 0)."""
    groups = log_weights.shape[1]
    choose = log_choose(size, min(size, draws) + 1, log_weights)
    k = torch.arange(len(choose), device=log_weights.device)
    terms = [choose + k * log_weights[:, i : i + 1] for i in range(groups)]
    tables = [None] * (groups - 1) + [terms[-1]]
    for i in range(groups - 2, 0, -1):
        length = min(draws, (groups - i) * size) + 1
        pad = (len(choose) - 1, length - tables[i + 1].shape[1])
        # Row s holds Z_{i+1}(s - k) for descending k: no row is all -inf, since no table goes past its groups' total.
        shifted = torch.nn.functional.pad(tables[i + 1], pad, value=-math.inf).unfold(1, len(choose), 1)
        tables[i] = (shifted + terms[i].flip(1)[:, None]).logsumexp(2)
    return terms, tables


def exact(log_weights, size, draws, tau):
    """Counts, log-prob of the draw, log Z: group by group from the exact conditionals of the suffix tables."""
    groups = log_weights.shape[1]
    terms, tables = suffix_tables(log_weights, size, draws)
    k = torch.arange(terms[0].shape[1], device=log_weights.device)
    left = torch.full_like(log_weights[:, :1], draws)
    counts, log_prob, log_z = [], 0, None
    for i in range(groups - 1):
        table = tables[i + 1]
        index = left.detach().long() - k
        outside = (index < 0) | (index >= table.shape[1])
        index = index.clamp(0, table.shape[1] - 1)
        logits = terms[i] + table.gather(1, index)
        if i > 0:  # the conditional's dependence on what is left: the slope of the table, taken as a constant
            slope = torch.gradient(table.detach(), dim=1)[0].gather(1, index)
            logits = logits + (left - left.detach()) * slope
        logits = logits.masked_fill(outside, -math.inf)
        soft = ((logits + gumbel_like(logits)) / tau).softmax(1)
        drawn = soft.argmax(1, keepdim=True)
        relaxed = (soft * k).sum(1, keepdim=True)
        count = drawn + (relaxed - relaxed.detach())
        log_prob = log_prob + terms[i].gather(1, drawn)
        log_z = logits.logsumexp(1, keepdim=True) if i == 0 else log_z
        left = left - count
        counts.append(count)
    log_prob = log_prob + terms[-1].gather(1, left.detach().long()) - log_z
    return torch.cat([*counts, left], 1), log_prob[:, 0], log_z[:, 0]


def draw(form, log_weights, size, draws, tau=1.0):
    """Counts [rows, groups], with a straight-through gradient, and the log-prob of each row's draw."""
    if form == "exact":
        return exact(log_weights, size, draws, tau)[:2]
    return merged(log_weights, size, draws, tau, dense=form == "merged-dense")


def predicted_mb(form, groups, size, draws, batch):
    """The peak by the tensors that the backward pass needs; the factors are fitted to runs that fit."""
    support = min(size, draws) + 1
    # Five tensors a group. glibc's heap makes about 17 of them until they are large enough (32 MB) for their own pages.
    tensor = batch * (size + 1)
    floats = tensor * (17 * (groups - 1) if 4 * tensor < 32 * MEGABYTE else 5 * (groups - 1) + 6)
    if form == "merged-dense":
        floats += batch * (size + 1) ** 2 * groups  # a triangle a step, and one more while the last is made
    if form == "exact":
        floats = batch * (draws + 1) * (support * (groups + 1) + 20 * groups)  # groups - 2 tables, 3 in the making
    return 12 + 4 * floats / MEGABYTE


def status_mb(field):
    """VmRSS, VmHWM (its peak) or VmData of this process (Linux)."""
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def inputs(groups, batch, device):
    generator = torch.Generator().manual_seed(1)
    noise = 0.1 * torch.randn(batch, groups, generator=generator)
    functional = torch.randn(batch, groups, generator=generator)
    log_weights = torch.linspace(1, 10, groups).log() + noise
    return log_weights.to(device).requires_grad_(), functional.to(device)


def measure(form, groups, size, draws, batch, arguments):
    """One cell: two steps to warm up, then `repeats` that count, or as many as the time limit allows."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cuda = arguments.device == "cuda"
    log_weights, functional = inputs(groups, batch, arguments.device)
    if cuda:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, arguments.memory_limit_mb * MEGABYTE / total))
        torch.cuda.reset_peak_memory_stats()
    else:
        data = int((status_mb("VmData") + arguments.memory_limit_mb) * MEGABYTE)
        resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    spent = math.ceil(time.process_time() + arguments.time_limit_s)
    resource.setrlimit(resource.RLIMIT_CPU, (spent, spent + 5))  # SIGXCPU ends a step that never comes back
    before = torch.cuda.memory_allocated() if cuda else status_mb("VmRSS")

    def clock():
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() if cuda else time.process_time()

    def milliseconds(times, backward):
        """A draw, or a draw and its backward pass: the mean over `times` in a row."""
        start = clock()
        for _ in range(times):
            counts, log_prob = draw(form, log_weights, size, draws)
            if backward:
                (functional * counts).sum().backward()
            log_weights.grad = counts = log_prob = None
        return 1e3 * (clock() - start) / times

    begin, start = clock(), time.perf_counter()
    milliseconds(2, backward=True)
    # Process time comes in ticks of up to 10 ms, so a short step is timed many at once.
    times = max(1, math.ceil(BLOCK_S / (time.perf_counter() - start) * 2))
    forward, step = [], []
    while len(step) < arguments.repeats:
        forward.append(milliseconds(times, backward=False))
        step.append(milliseconds(times, backward=True))
        used = clock() - begin
        if used + 1.2e-3 * times * (forward[-1] + step[-1]) > arguments.time_limit_s:
            break
    peak = (torch.cuda.max_memory_allocated() - before) / MEGABYTE if cuda else status_mb("VmHWM") - before
    times = {"forward_cpu_ms": statistics.median(forward), "step_cpu_ms": statistics.median(step)}
    return {name: round(value, 3) for name, value in times.items()} | {"peak_mb": round(peak, 1), "repeats": len(step)}


def run_cell(form, groups, size, draws, batch, arguments):
    """The record of a cell, measured in a fresh process unless the formula says that it cannot fit."""
    record = {"form": form, "groups": groups, "size": size, "draws": draws, "batch": batch}
    machine = {"torch": torch.__version__, "device": arguments.device, "threads": 1}
    predicted = {"predicted_mb": round(predicted_mb(form, groups, size, draws, batch))}
    if predicted["predicted_mb"] > arguments.memory_limit_mb:
        return record | {"oom": True} | predicted | machine
    command = [sys.executable, __file__, "--cell", f"--forms={form}", f"--shapes={groups}x{size}x{draws}"]
    command += [f"--batches={batch}", f"--repeats={arguments.repeats}", f"--device={arguments.device}"]
    command += [f"--memory-limit-mb={arguments.memory_limit_mb}", f"--time-limit-s={arguments.time_limit_s}"]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if child.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        return record | {"slow" if child.returncode == -signal.SIGXCPU else "oom": True} | predicted | machine
    if child.returncode:
        sys.exit(f"{form} {groups}x{size}x{draws}, batch {batch}: exit status {child.returncode}")
    return record | json.loads(child.stdout) | predicted | machine


def child(form, shape, batch, arguments):
    try:
        result = measure(form, *shape, batch, arguments)
        if result["peak_mb"] > arguments.memory_limit_mb:
            result = {"oom": True}
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        result = {"oom": True}
    print(json.dumps(result))


def table_row(record):
    """A row of a markdown table."""
    shape = f"{record['groups']}x{record['size']}x{record['draws']}"
    if "step_cpu_ms" in record:
        cells = [f"{record['forward_cpu_ms']:.4g}", f"{record['step_cpu_ms']:.4g}", f"{record['peak_mb']:.0f}"]
    else:
        cells = ["out of memory" if "oom" in record else "slow", "", f"({record['predicted_mb']})"]
    return "| " + " | ".join([record["form"], shape, str(record["batch"]), *cells]) + " |"


def jacobian(form, weights, size, draws, rows):
    """Mean straight-through d x_i / d log w_j over `rows` draws, its standard error, and the counts."""
    torch.manual_seed(3)
    log_weights = torch.tensor(weights).log().repeat(rows, 1).requires_grad_()
    counts, _ = draw(form, log_weights, size, draws)
    per_row = [torch.autograd.grad(x.sum(), log_weights, retain_graph=True)[0] for x in counts.unbind(1)]
    per_row = torch.stack(per_row, 1)
    return per_row.mean(0), per_row.std(0) / rows**0.5, counts.detach()


def check():
    """The forms against enumeration, against autograd of log Z, and against each other."""
    failures = 0

    def expect(what, difference, bound):
        nonlocal failures
        passes = difference <= bound  # false for NaN
        failures += not passes
        print(f"{'ok    ' if passes else 'FAILED'} {what}: {difference:.3g} (at most {bound:.3g})")

    def moments(weights, size, draws):
        """log Z, and its first and second derivatives by log weights: the mean and the covariance."""
        log_z = lambda w: exact(w[None], size, draws, 1.0)[2][0]
        w = torch.tensor(weights, dtype=torch.float64).log().requires_grad_()
        mean = torch.autograd.grad(log_z(w), w)[0]
        return log_z(w).item(), mean, torch.autograd.functional.hessian(log_z, w)

    weights, size, draws, rows = [1.0, 3.0, 0.5, 2.0], 4, 9, 65536  # draws > 2 sizes: every kind of boundary
    support = [x for x in itertools.product(range(size + 1), repeat=4) if sum(x) == draws]
    terms = [math.prod(math.comb(size, c) * w**c for c, w in zip(x, weights)) for x in support]
    log_z, mean, covariance = moments(weights, size, draws)
    expect("exact log Z against enumeration", abs(log_z - math.log(sum(terms))), 1e-10)
    torch.manual_seed(2)
    counts, log_prob = draw("exact", torch.tensor(weights).log().repeat(rows, 1), size, draws)
    error = covariance.diag().sqrt() / rows**0.5
    expect("exact sample mean - d log Z, in standard errors", ((counts.mean(0) - mean) / error).abs().max().item(), 4)
    of_row = {x: math.log(t / sum(terms)) for x, t in zip(support, terms)}
    truth = torch.tensor([of_row[tuple(x)] for x in counts.int().tolist()])
    expect("exact log-prob of the draws against enumeration", (log_prob - truth).abs().max().item(), 1e-5)
    values, inverse = counts.unique(dim=0, return_inverse=True)
    frequency = torch.bincount(inverse, minlength=len(values)).double()
    expected = rows * torch.tensor([math.exp(of_row[tuple(x)]) for x in values.int().tolist()])
    statistic = ((frequency - expected) ** 2 / expected).sum().item()
    freedom = len(support) - 1
    expect(f"exact draws, chi square of {len(support)} outcomes", statistic, freedom + 4 * (2 * freedom) ** 0.5)

    for form in FORMS:
        for shape in ((4, 4, 9), (3, 200, 180), (10, 256, 256)):
            counts, log_prob = draw(form, inputs(shape[0], 64, "cpu")[0], *shape[1:])
            wrong = (counts.sum(1) != shape[2]) | (counts < 0).any(1) | (counts > shape[1]).any(1) | ~(log_prob < 0)
            expect(f"{form} {shape}: rows that do not sum to n or leave the support", wrong.sum().item(), 0)

    for form, weights, rows in (
        ("merged-cumsum", [1.0, 1.0, 1.0], 8192),
        ("merged-dense", [1.0, 1.0, 1.0], 1024),
        ("exact", [1.0, 1.0, 1.0], 4096),
        ("exact", [1.0, 10.0, 1.0], 4096),
    ):
        covariance = moments(weights, 200, 180)[2]
        mean, error, _ = jacobian(form, weights, 200, 180, rows)
        print(f"       {form} {weights}: mean diagonal {[round(v, 2) for v in mean.diag().tolist()]},", end=" ")
        print(f"covariance {[round(v, 2) for v in covariance.diag().tolist()]}")
        # Straight-through is biased by the relaxation where the law is not near normal: 5 % for unequal weights.
        excess = (mean - covariance).abs() - (0.05 * covariance.abs() if max(weights) > 1 else 0)
        expect("straight-through Jacobian - covariance, in standard errors", (excess / error).max().item(), 4)
        # f32 holds a table's log Z near 600 to 6e-5, so two tables shift a covariance of 24 by 3e-3.
        sums = mean.sum(0).abs().max() + mean.sum(1).abs().max()
        expect("its sums over counts and over weights, which are 0", sums.item(), 5e-3)
    dense, cumsum = (jacobian(form, [1.0, 3.0, 5.0], 50, 60, 64) for form in FORMS[:2])
    expect("merged-dense counts - merged-cumsum counts", (dense[2] - cumsum[2]).abs().max().item(), 0)
    expect("merged-dense Jacobian - merged-cumsum Jacobian", (dense[0] - cumsum[0]).abs().max().item(), 1e-3)
    sys.exit(failures > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--shapes", default="3x200x180,10x256x256,10x1000x256,4x4096x1024", help="GROUPSxSIZExDRAWS")
    parser.add_argument("--batches", default="1,64,1024,16384")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory-limit-mb", type=float, default=11000)
    parser.add_argument("--time-limit-s", type=float, default=60, help="of a cell, all its repeats (CPU seconds)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", action="store_true", help="JSON lines instead of a markdown table")
    parser.add_argument("--check", action="store_true", help="check the forms instead of timing them")
    parser.add_argument("--cell", action="store_true", help=argparse.SUPPRESS)  # this process is the cell's own
    arguments = parser.parse_args()
    if arguments.check:
        check()
    forms = arguments.forms.split(",")
    if unknown := set(forms) - set(FORMS):
        parser.error(f"--forms: {', '.join(sorted(unknown))} is none of {', '.join(FORMS)}")
    shapes = [tuple(map(int, shape.split("x"))) for shape in arguments.shapes.split(",")]
    batches = [int(batch) for batch in arguments.batches.split(",")]
    if arguments.cell:
        return child(forms[0], shapes[0], batches[0], arguments)
    if not arguments.json:
        print("| form | groups x size x draws | batch | forward CPU ms | step CPU ms | peak MB |")
        print("| --- " * 6 + "|")
    for shape, batch, form in itertools.product(shapes, batches, forms):
        record = run_cell(form, *shape, batch, arguments)
        print(json.dumps(record) if arguments.json else table_row(record), flush=True)


if __name__ == "__main__":
    main()
