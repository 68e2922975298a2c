#!/usr/bin/env python3
"""PyTorch and JAX peers of the cases of `cargo xtask bench`: the same arithmetic as a user of either would write it.

README.md says what each computes. One JSON line per case and form; a process per form.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import threading
import time

FORMS = ("torch", "torch.compile", "jax")
GROUPS = 10
SAMPLE_S = 0.05
FEWEST = 5
CASES = (
    "matmul:512x512x512,matmul:1024x1024x1024,matmul:256x784x500,matmul NT:256x500x784,matmul TN:784x256x500,"
    "conv2d step:64x64x64x1x32,conv2d step:64x32x32x32x32,conv2d step:64x16x16x32x64,conv2d step:64x8x8x64x64,"
    "conv_transpose2d step:64x8x8x64x32,conv_transpose2d step:64x16x16x32x32,conv_transpose2d step:64x32x32x32x1,"
    "softmax:4096x1024,log_sum_exp:4096x1024,sum cols:4096x1024,sum rows:4096x1024,sum all:4096x1024,"
    "argmax:4096x1024,add:4194304,mul row:4096x1024,softplus:4194304,normal:4194304,uniform:4194304,"
    "gumbel_softmax:1024x1024,gumbel_top_k:1024x1024x16,cross_entropy:4096x1024,bernoulli_loss:4096x784,"
    "squared_error:4096x784,adam:4194304,vade-step:256x784x500x500x2000x10,digits-step:256x64x256x128x16"
)


def inputs(case, dims):
    """What a case reads, as arrays of f32."""
    import numpy

    random = numpy.random.default_rng(0)
    normal = lambda *shape: random.standard_normal(shape, "float32")

    def probabilities(*shape):
        weights = numpy.exp(normal(*shape))
        return weights / weights.sum(1, keepdims=True)

    if case.startswith("matmul"):
        m, k, n = dims
        shapes = {"matmul": [(m, k), (k, n)], "matmul NT": [(m, k), (n, k)], "matmul TN": [(k, m), (k, n)]}
        return [normal(*shape) for shape in shapes[case]]
    if case.startswith("conv"):
        n, height, width, a, b = dims
        transposed = case.startswith("conv_transpose2d")
        out = (2 * height, 2 * width) if transposed else (height // 2, width // 2)
        weight = normal(a, b, 4, 4) if transposed else normal(b, a, 4, 4)
        return [normal(n, a, height, width), weight, normal(b), normal(n, b, *out)]
    if case == "add":
        return [normal(*dims), normal(*dims)]
    if case == "mul row":
        return [normal(*dims), normal(dims[1])]
    if case in ("cross_entropy", "bernoulli_loss", "squared_error"):
        return [normal(*dims), probabilities(*dims)]
    if case in ("normal", "uniform"):
        return []
    if case == "adam":
        return [normal(*dims), normal(*dims)]
    if case == "gumbel_top_k":
        return [normal(*dims[:2])]
    if case.endswith("-step"):
        rows, *widths, latent = dims
        decoder = [latent, *reversed(widths)]
        layers = [*zip(widths, widths[1:]), (widths[-1], latent), (widths[-1], latent), *zip(decoder, decoder[1:])]
        scaled = [normal(a, b) * numpy.float32(math.sqrt(2 / a)) for a, b in layers]
        zeros = lambda *shape: numpy.zeros(shape, "float32")
        mixture = [normal(GROUPS, latent), zeros(GROUPS, latent), zeros(GROUPS)]
        return [probabilities(rows, widths[0]), *scaled, *(zeros(b) for _, b in layers), *mixture]
    return [normal(*dims)]


def torch_ops(dims, device):
    """A function of the inputs for each case without a state."""
    import torch
    import torch.nn.functional as F

    def step(f, x, weight, bias, dy):
        leaves = [weight, bias] if x.shape[1] == 1 else [x, weight, bias]
        with torch.enable_grad():
            [leaf.requires_grad_() for leaf in leaves]
            return torch.autograd.grad(f(x, weight, bias), leaves, dy)

    conv2d = lambda x, weight, bias: F.relu(F.conv2d(x, weight, bias, 2, 1))
    conv_transpose2d = lambda x, weight, bias: F.conv_transpose2d(x, weight, bias, 2, 1)
    return {
        "conv2d step": lambda *arrays: step(conv2d, *arrays),
        "conv_transpose2d step": lambda *arrays: step(conv_transpose2d, *arrays),
        "matmul": lambda a, b: a @ b,
        "matmul NT": lambda a, b: a @ b.T,
        "matmul TN": lambda a, b: a.T @ b,
        "softmax": lambda x: x.softmax(1),
        "log_sum_exp": lambda x: x.logsumexp(1),
        "sum cols": lambda x: x.sum(1),
        "sum rows": lambda x: x.sum(0),
        "sum all": lambda x: x.sum(),
        "argmax": lambda x: x.argmax(1),
        "add": lambda a, b: a + b,
        "mul row": lambda a, b: a * b,
        "softplus": F.softplus,
        "normal": lambda: torch.randn(dims, device=device),
        "uniform": lambda: torch.rand(dims, device=device),
        "gumbel_softmax": lambda x: F.gumbel_softmax(x, 0.5),
        "gumbel_top_k": lambda x: (x - torch.empty_like(x).exponential_().log()).topk(dims[2]),
        "cross_entropy": lambda x, targets: F.cross_entropy(x, targets, reduction="none"),
        "bernoulli_loss": lambda x, targets: F.binary_cross_entropy_with_logits(x, targets, reduction="none").sum(1),
        "squared_error": lambda x, targets: (x - targets).square().sum(1),
    }


def torch_loss(parameters, x, noise, hidden):
    """Of a training step: `hidden` layers of the encoder, the heads of the latent, a decoder with one layer more."""
    import torch
    import torch.nn.functional as F

    count = 2 * hidden + 3
    layers = list(zip(parameters[:count], parameters[count : 2 * count]))
    means, log_variances, weights = parameters[2 * count :]
    h = x
    for w, b in layers[:hidden]:
        h = F.relu(torch.addmm(b, h, w))
    mean, log_variance = (torch.addmm(b, h, w) for w, b in layers[hidden : hidden + 2])
    z = mean + (0.5 * log_variance).exp() * noise
    h = z
    for w, b in layers[hidden + 2 : -1]:
        h = F.relu(torch.addmm(b, h, w))
    w, b = layers[-1]
    logits = torch.addmm(b, h, w)
    reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1).mean()

    def density(m, variance, means, log_variances):
        square = (m[:, None] - means).square() + variance[:, None]
        return -0.5 * (math.log(2 * math.pi) + log_variances + square * (-log_variances).exp()).sum(2)

    log_proportions = weights.log_softmax(0)
    with torch.no_grad():
        here = density(z, torch.zeros_like(z), means, log_variances) + log_proportions
        log_responsibilities = here.log_softmax(1)
        responsibilities = log_responsibilities.exp()
    there = density(mean, log_variance.exp(), means, log_variances) + log_proportions
    groups = (responsibilities * (log_responsibilities - there)).sum(1).mean()
    entropy = 0.5 * (log_variance + 1 + math.log(2 * math.pi)).sum(1).mean()
    return reconstruction + groups - entropy


def torch_cell(case, dims, compiled, device):
    """A function that runs the case once and returns what to wait for."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch._dynamo.reset()
    compile_ = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
    tensors = [torch.from_numpy(array).to(device) for array in inputs(case, dims)]
    if case == "adam":
        values = tensors[0].requires_grad_()
        values.grad = tensors[1]
        optimizer = torch.optim.Adam([values], fused=not compiled, foreach=compiled)
        step = compile_(optimizer.step)
        return lambda i: step()
    if case.endswith("-step"):
        x, *parameters = tensors
        parameters = [parameter.requires_grad_() for parameter in parameters]
        optimizer = torch.optim.Adam(parameters, fused=True)
        loss_of = compile_(torch_loss)

        def train(_):
            noise = torch.randn(dims[0], dims[-1], device=device)
            loss = loss_of(parameters, x, noise, len(dims) - 3)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss

        return train
    op = compile_(torch_ops(dims, device)[case])

    def run(_):
        with torch.no_grad():
            return op(*tensors)

    return run


def jax_ops(dims):
    """As `torch_ops`; the first argument is a key."""
    import jax
    import jax.numpy as jnp

    def step(f, x, weight, bias, dy):
        if x.shape[1] == 1:
            return jax.vjp(lambda weight, bias: f(x, weight, bias), weight, bias)[1](dy)
        return jax.vjp(f, x, weight, bias)[1](dy)

    def conv2d(x, weight, bias):
        y = jax.lax.conv_general_dilated(x, weight, (2, 2), [(1, 1)] * 2)
        return jax.nn.relu(y + bias[:, None, None])

    def conv_transpose2d(x, weight, bias):
        kernel = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(2, 2)] * 2, (2, 2)) + bias[:, None, None]

    return {
        "conv2d step": lambda key, *arrays: step(conv2d, *arrays),
        "conv_transpose2d step": lambda key, *arrays: step(conv_transpose2d, *arrays),
        "matmul": lambda key, a, b: a @ b,
        "matmul NT": lambda key, a, b: a @ b.T,
        "matmul TN": lambda key, a, b: a.T @ b,
        "softmax": lambda key, x: jax.nn.softmax(x),
        "log_sum_exp": lambda key, x: jax.nn.logsumexp(x, 1),
        "sum cols": lambda key, x: x.sum(1),
        "sum rows": lambda key, x: x.sum(0),
        "sum all": lambda key, x: x.sum(),
        "argmax": lambda key, x: x.argmax(1),
        "add": lambda key, a, b: a + b,
        "mul row": lambda key, a, b: a * b,
        "softplus": lambda key, x: jax.nn.softplus(x),
        "normal": lambda key: jax.random.normal(key, dims),
        "uniform": lambda key: jax.random.uniform(key, dims),
        "gumbel_softmax": lambda key, x: jax.nn.softmax((x + jax.random.gumbel(key, x.shape)) / 0.5),
        "gumbel_top_k": lambda key, x: jax.lax.top_k(x + jax.random.gumbel(key, x.shape), dims[2]),
        "cross_entropy": lambda key, x, targets: -(targets * jax.nn.log_softmax(x)).sum(1),
        "bernoulli_loss": lambda key, x, targets: (jnp.logaddexp(x, 0) - x * targets).sum(1),
        "squared_error": lambda key, x, targets: ((x - targets) ** 2).sum(1),
    }


def jax_loss(parameters, x, noise, hidden):
    """As `torch_loss`."""
    import jax
    import jax.numpy as jnp

    count = 2 * hidden + 3
    layers = list(zip(parameters[:count], parameters[count : 2 * count]))
    means, log_variances, weights = parameters[2 * count :]
    h = x
    for w, b in layers[:hidden]:
        h = jax.nn.relu(h @ w + b)
    mean, log_variance = (h @ w + b for w, b in layers[hidden : hidden + 2])
    z = mean + jnp.exp(0.5 * log_variance) * noise
    h = z
    for w, b in layers[hidden + 2 : -1]:
        h = jax.nn.relu(h @ w + b)
    w, b = layers[-1]
    logits = h @ w + b
    reconstruction = (jnp.logaddexp(logits, 0) - logits * x).sum(1).mean()

    def density(m, variance, means, log_variances):
        square = (m[:, None] - means) ** 2 + variance[:, None]
        return -0.5 * (math.log(2 * math.pi) + log_variances + square * jnp.exp(-log_variances)).sum(2)

    log_proportions = jax.nn.log_softmax(weights)
    here = density(z, jnp.zeros_like(z), means, log_variances) + log_proportions
    log_responsibilities = jax.lax.stop_gradient(jax.nn.log_softmax(here))
    there = density(mean, jnp.exp(log_variance), means, log_variances) + log_proportions
    groups = (jnp.exp(log_responsibilities) * (log_responsibilities - there)).sum(1).mean()
    entropy = 0.5 * (log_variance + 1 + math.log(2 * math.pi)).sum(1).mean()
    return reconstruction + groups - entropy


def jax_cell(case, dims):
    """As `torch_cell`, compiled whole."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_default_matmul_precision", "float32")
    arrays = [jnp.asarray(array) for array in inputs(case, dims)]

    def adam(step, value, gradient, first, second):
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        change = first / (1 - 0.9**step) / (jnp.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return value - 1e-3 * change, first, second

    def update(step, state, gradients):
        new = [adam(step, value, gradient, *moments) for (value, *moments), gradient in zip(state, gradients)]
        return [tuple(parts) for parts in new]

    start = lambda values: [(value, jnp.zeros_like(value), jnp.zeros_like(value)) for value in values]
    if case == "adam":
        state = start(arrays[:1])
        step = jax.jit(update, donate_argnums=1)

        def optimize(i):
            nonlocal state
            state = step(jnp.float32(i + 1), state, arrays[1:])
            return state

        return optimize
    if case.endswith("-step"):
        x, *parameters = arrays
        state = start(parameters)

        def whole(i, state, x):
            noise = jax.random.normal(jax.random.key(i), (dims[0], dims[-1]))
            of = lambda parameters: jax_loss(parameters, x, noise, len(dims) - 3)
            loss, gradients = jax.value_and_grad(of)([value for value, *_ in state])
            return loss, update(i + jnp.float32(1), state, gradients)

        step = jax.jit(whole, donate_argnums=1)

        def train(i):
            nonlocal state
            loss, state = step(i, state, x)
            return loss, state

        return train
    op = jax.jit(lambda i, *arrays: jax_ops(dims)[case](jax.random.key(i), *arrays))
    return lambda i: op(i, *arrays)


def middle(samples):
    """The median and the median absolute deviation from it."""
    median = statistics.median(samples)
    return median, statistics.median(abs(sample - median) for sample in samples)


def measure(form, case, dims, arguments):
    """First run, then samples of as many runs as take 50 ms with one wait at the end."""
    if form == "jax":
        import jax

        wait, device = jax.block_until_ready, "cuda" if jax.default_backend() == "gpu" else "cpu"
        versions = {"jax": jax.__version__}
        make = lambda: jax_cell(case, dims)
    else:
        import torch

        device = "cuda" if arguments.device != "cpu" and torch.cuda.is_available() else "cpu"
        wait = (lambda _: torch.cuda.synchronize()) if device == "cuda" else (lambda _: None)
        versions = {"torch": torch.__version__}
        make = lambda: torch_cell(case, dims, form == "torch.compile", device)
    run = make()
    begin = time.perf_counter()
    wait(run(0))
    first = time.perf_counter() - begin
    for i in range(1, 4):
        begin = time.perf_counter()
        wait(run(i))  # a second compilation, caches
    inner = max(1, min(1000, int(SAMPLE_S / (time.perf_counter() - begin))))
    cpus, walls, count = [], [], 4
    while sum(walls) * inner < 1e3 * arguments.seconds or len(walls) < FEWEST:
        cpu, wall = time.process_time(), time.perf_counter()
        for i in range(count, count + inner):
            result = run(i)
        wait(result)
        walls.append(1e3 * (time.perf_counter() - wall) / inner)
        cpus.append(1e3 * (time.process_time() - cpu) / inner)
        count += inner
    (cpu, cpu_mad), (wall, wall_mad) = middle(cpus), middle(walls)
    times = {"cpu_ms": cpu, "cpu_ms_mad": cpu_mad, "wall_ms": wall, "wall_ms_mad": wall_mad, "first_ms": 1e3 * first}
    return times | {"device": device} | versions


def child(form, cases, arguments):
    """All cases of a form; a compiler that is missing is told, not met with an exit status."""
    for case, shape in cases:
        record = {"form": form, "case": case, "shape": shape}
        try:
            record |= measure(form, case, tuple(map(int, shape.split("x"))), arguments)
        except Exception as error:  # pylint: disable=broad-except
            if form != "torch.compile":
                raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            record |= {"skipped": (lines or [type(error).__name__])[0][:200]}
        print(json.dumps(record | {"python": platform.python_version()}), flush=True)


def run_form(form, cases, arguments):
    """Prints a line per case. A case that takes too long ends its process; another one goes on with the next."""
    one = {"OMP_NUM_THREADS": "1", "NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    environment = os.environ | one | {"TORCHINDUCTOR_COMPILE_THREADS": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if arguments.device == "cpu":
        environment |= {"JAX_PLATFORMS": "cpu"}
    while cases:
        asked = ",".join(":".join(case) for case in cases)
        command = [sys.executable, __file__, f"--child={form}", f"--cases={asked}", f"--seconds={arguments.seconds}"]
        command += [f"--device={arguments.device}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        clock = threading.Timer(arguments.time_limit_s, process.kill)
        clock.start()
        for line in process.stdout:
            clock.cancel()
            print(line, end="", flush=True)
            cases = cases[1:]
            clock = threading.Timer(arguments.time_limit_s, process.kill)
            clock.start()
        status = process.wait()
        clock.cancel()
        if cases:
            (case, shape), cases = cases[0], cases[1:]
            if status != -signal.SIGKILL:
                sys.exit(f"{form} {case} {shape}: exit status {status}")
            print(json.dumps({"form": form, "case": case, "shape": shape, "slow": True}), flush=True)


def check():
    """The loss of a training step and its gradient, torch against jax, from the same arrays; then each op."""
    import jax
    import numpy
    import torch

    failures = 0

    def expect(what, ours, theirs):
        nonlocal failures
        difference = float(numpy.abs(numpy.asarray(ours) - numpy.asarray(theirs)).max())
        bound = 1e-4 * (1 + float(numpy.abs(numpy.asarray(theirs)).max()))
        passes = difference <= bound  # false for NaN
        failures += not passes
        print(f"{'ok    ' if passes else 'FAILED'} {what}: {difference:.3g} (at most {bound:.3g})")

    dims = (6, 9, 7, 8, 3)
    x, *parameters = inputs("vade-step", dims)
    noise = numpy.random.default_rng(1).standard_normal((6, 3), "float32")
    tensors = [torch.from_numpy(array).requires_grad_() for array in parameters]
    loss = torch_loss(tensors, torch.from_numpy(x), torch.from_numpy(noise), 2)
    loss.backward()
    theirs, gradients = jax.value_and_grad(jax_loss)([jax.numpy.asarray(p) for p in parameters], x, noise, 2)
    expect("loss of a step", loss.detach(), theirs)
    for i, (tensor, gradient) in enumerate(zip(tensors, gradients)):
        expect(f"gradient {i} of a step", tensor.grad, gradient)
    random = ("normal", "uniform", "gumbel_softmax", "gumbel_top_k", "argmax")
    for case in torch_ops((4, 5, 6), "cpu"):
        if case not in random:
            dims = (4, 5, 6) if case.startswith("matmul") else (3, 6, 4, 2, 5) if case.startswith("conv") else (8, 5)
            arrays = inputs(case, dims)
            theirs = jax_ops(dims)[case](None, *map(jax.numpy.asarray, arrays))
            ours = torch_ops(dims, "cpu")[case](*map(torch.from_numpy, arrays))
            for ours, theirs in zip(ours, theirs) if isinstance(ours, tuple) else [(ours, theirs)]:
                expect(case, ours, theirs)
    sys.exit(failures > 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", default=CASES, help="CASE:SHAPE, separated by commas; those without a peer are left out")
    parser.add_argument("--forms", default=",".join(FORMS))
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="auto is CUDA where there is one")
    parser.add_argument("--seconds", type=float, default=1, help="that the samples of a case take together")
    parser.add_argument("--time-limit-s", type=float, default=180, help="of a case, with compiling (wall seconds)")
    parser.add_argument("--check", action="store_true", help="check torch's forms against jax's instead of timing them")
    parser.add_argument("--child", help=argparse.SUPPRESS)  # this process is the form's own
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    known = {case.split(":")[0] for case in CASES.split(",")}
    cases = [tuple(case.split(":")) for case in arguments.cases.split(",")]
    cases = [case for case in cases if case[0] in known]
    if arguments.child:
        return child(arguments.child, cases, arguments)
    for form in arguments.forms.split(","):
        if form not in FORMS:
            parser.error(f"--forms: {form} is none of {', '.join(FORMS)}")
        library = form.split(".")[0]
        if importlib.util.find_spec(library) is None:
            print(f"{library} cannot be imported: {form} is left out", file=sys.stderr)
        else:
            print(f"{form}: {len(cases)} cases, {arguments.seconds} s each", file=sys.stderr)
            run_form(form, cases, arguments)


if __name__ == "__main__":
    main()
