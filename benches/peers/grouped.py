#!/usr/bin/env python3
"""PyTorch peers of a layer whose rows go to heads, on the CPU with one thread: forward and backward, by number of heads.

Row r goes to head r % heads, as in `benches/src/bin/grouped.rs`. One JSON line per cell.
"""

import argparse
import json
import math
import statistics
import time

import torch

BLOCK_S = 0.3


def forms(rows, heads):
    """Functions of a [rows, inputs] and b [heads, inputs, outputs]."""
    assignment = torch.arange(rows) % heads
    order = assignment.argsort(stable=True)
    inverse = order.argsort()

    def loop(a, b):
        # An index_put for each head.
        c = a.new_empty(rows, b.shape[2])
        for head in range(heads):
            index = (assignment == head).nonzero().squeeze(1)
            c = c.index_put((index,), a[index] @ b[head])
        return c

    def joined(a, b):
        # Products one after the other, joined and put in place once.
        split = a[order].split(rows // heads)
        return torch.cat([part @ b[head] for head, part in enumerate(split)])[inverse]

    def bmm_rows(a, b):
        # A matrix for each row.
        return torch.bmm(a[:, None], b[assignment])[:, 0]

    def bmm_sorted(a, b):
        # Only because every head has as many rows.
        return torch.bmm(a[order].view(heads, rows // heads, -1), b).view(rows, -1)[inverse]

    return {"loop": loop, "joined": joined, "bmm_rows": bmm_rows, "bmm_sorted": bmm_sorted}


def cpu_ms(call, repeats):
    """The median of blocks of at least BLOCK_S, because process time comes in ticks."""
    call()
    start = time.perf_counter()
    call()
    times = max(1, math.ceil(BLOCK_S / (time.perf_counter() - start)))
    blocks = []
    for _ in range(repeats):
        start = time.process_time()
        for _ in range(times):
            call()
        blocks.append(1e3 * (time.process_time() - start) / times)
    return round(statistics.median(blocks), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shapes", default="1024x64x64,1024x784x32", help="ROWSxINPUTSxOUTPUTS, separated by commas")
    parser.add_argument("--heads", default="2,4,8,16,32,64", help="numbers that divide the rows, separated by commas")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    for shape in arguments.shapes.split(","):
        rows, inputs, outputs = map(int, shape.split("x"))
        for heads in map(int, arguments.heads.split(",")):
            leaves = [torch.randn(rows, inputs, requires_grad=True), torch.randn(heads, inputs, outputs, requires_grad=True)]
            cotangent = torch.randn(rows, outputs)
            results = {}
            for form, function in forms(rows, heads).items():

                def forward():
                    with torch.no_grad():
                        function(*leaves)

                c = function(*leaves)
                backward = lambda: torch.autograd.grad(c, leaves, cotangent, retain_graph=True)
                results[form] = [c.detach(), *backward()]
                record = {"form": f"torch-{form}", "rows": rows, "heads": heads, "inputs": inputs, "outputs": outputs}
                record |= {"forward_cpu_ms": cpu_ms(forward, arguments.repeats)}
                record |= {"backward_cpu_ms": cpu_ms(backward, arguments.repeats), "torch": torch.__version__}
                print(json.dumps(record), flush=True)
            for form, result in results.items():
                for got, want in zip(result, results["loop"]):
                    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3, msg=form)


if __name__ == "__main__":
    main()
