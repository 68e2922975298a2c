//! The mutation table: every op's checks are run on deliberately broken kernels and must reject each of them, the
//! proof that the suite can fail.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use softurn_tests::{Mismatch, Mutant, MutationReport, Tolerance, compare, same_bits};

use crate::ops::unary::{self, Unary};
use crate::ops::{
    OPS, adam, augment, bernoulli_loss, binary, blocks, conv, cross_entropy, entmax, fisher_hypergeometric, gather,
    gaussian, gaussian_mixture, grouped_matmul, gumbel_softmax, label_loss, log_sum_exp, matmul, nested_subset,
    one_hot, plackett_luce, random, reduce, relaxed_sort, self_label, sigmoid_top_k, softmax, sprites, squared_error,
    subset, successive_top_k, top_k,
};
use crate::shader::{Module, Patch, SHADERS, SHARED, check_barriers};
use crate::testing::{config, gpus, label, open};
use crate::{Gpu, GpuConfig, Plan};

type Check = fn(&Gpu) -> Result<(), Mismatch>;

/// What must hold on a device, by op, and the mistakes that it must notice. An op may have several rows: mistakes in
/// what ops share are listed below, each with an op that shows it.
const CHECKS: &[(&str, Check, &[Mutant])] = &[
    ("adam", adam::tests::check, adam::tests::MUTANTS),
    ("bernoulli_loss", bernoulli_loss::tests::check, bernoulli_loss::tests::MUTANTS),
    ("binary", binary::tests::check, binary::tests::MUTANTS),
    ("cross_entropy", cross_entropy::tests::check, cross_entropy::tests::MUTANTS),
    ("cross_entropy", cross_entropy::tests::check, IN_REDUCE),
    ("augment", augment::tests::check, augment::tests::MUTANTS),
    ("entmax", entmax::tests::check, entmax::tests::MUTANTS),
    ("fisher_hypergeometric", fisher_hypergeometric::tests::check, fisher_hypergeometric::tests::MUTANTS),
    ("gather", gather::tests::check, gather::tests::MUTANTS),
    ("gaussian", gaussian::tests::check, gaussian::tests::MUTANTS),
    ("gaussian_mixture", gaussian_mixture::tests::check, gaussian_mixture::tests::MUTANTS),
    ("grouped_matmul", grouped_matmul::tests::check, grouped_matmul::tests::MUTANTS),
    ("gumbel_softmax", gumbel_softmax::tests::check, gumbel_softmax::tests::MUTANTS),
    ("label_loss", label_loss::tests::check, label_loss::tests::MUTANTS),
    ("log_sum_exp", log_sum_exp::tests::check, log_sum_exp::tests::MUTANTS),
    ("matmul", matmul::tests::check, matmul::tests::MUTANTS),
    ("nested_subset", nested_subset::tests::check, nested_subset::tests::MUTANTS),
    ("one_hot", one_hot::tests::check, one_hot::tests::MUTANTS),
    ("plackett_luce", plackett_luce::tests::check, plackett_luce::tests::MUTANTS),
    ("random", random::tests::check, random::tests::MUTANTS),
    ("random", random::tests::check, IN_RANDOM),
    ("reduce", reduce::tests::check, reduce::tests::MUTANTS),
    ("reduce", reduce::tests::check, IN_REDUCE_BY_ORDER),
    ("reduce", rows_with_nan, IN_REDUCE_OF_NAN),
    ("relaxed_sort", relaxed_sort::tests::check, relaxed_sort::tests::MUTANTS),
    ("blocks", blocks::tests::check, blocks::tests::MUTANTS),
    ("conv", conv::tests::check, conv::tests::MUTANTS),
    ("softmax", softmax::tests::check, softmax::tests::MUTANTS),
    ("sprites", sprites::tests::check, sprites::tests::MUTANTS),
    ("squared_error", squared_error::tests::check, squared_error::tests::MUTANTS),
    ("self_label", self_label::tests::check, self_label::tests::MUTANTS),
    ("sigmoid_top_k", sigmoid_top_k::tests::check, sigmoid_top_k::tests::MUTANTS),
    ("subset", subset::tests::check, subset::tests::MUTANTS),
    ("successive_top_k", successive_top_k::tests::check, successive_top_k::tests::MUTANTS),
    ("top_k", top_k::tests::check, top_k::tests::MUTANTS),
    ("unary", unary::tests::check, UNARY),
    ("unary", folded_dispatch, IN_INDEX),
];

const UNARY: &[Mutant] = &[
    everywhere(
        "unary",
        "last element left out",
        "unary",
        "if (i < params.length) { y[i]",
        "if (i + 1u < params.length) { y[i]",
    ),
    everywhere(
        "unary",
        "the last four left out",
        "unary",
        "if (4u * i < params.length) { y4[i]",
        "if (4u * i + 4u < params.length) { y4[i]",
    ),
    everywhere(
        "unary",
        "relu's derivative at negative numbers",
        "unary",
        "select(vec4<f32>(0.0), vec4<f32>(1.0), v > vec4<f32>(0.0))",
        "vec4<f32>(1.0)",
    ),
    everywhere("unary", "reciprocal's derivative has the wrong sign", "unary", "d = -r * r", "d = r * r"),
    everywhere("unary", "backward ignores its upstream", "unary", "dy4[i] * d", "0.0 * dy4[i] + d"),
    everywhere("unary", "exp: a coefficient", "shared/math", "1.6666665459e-1", "1.66e-1"),
    everywhere("unary", "exp: half of an odd power of two lost", "shared/math", "pow2i4(i - h)", "pow2i4(h)"),
    everywhere("unary", "log: a coefficient", "shared/math", "3.3333331174e-1", "3.333e-1"),
    everywhere("unary", "log: the second part of ln 2", "shared/math", "fe * -2.12194440e-4", "fe * -2.1e-4"),
    everywhere("unary", "log1p: no polynomial near 0", "shared/math", "(x > vec4<f32>(-0.29))", "(x > vec4<f32>(1.0))"),
    everywhere(
        "unary",
        "expm1: no polynomial near 0",
        "shared/math",
        "abs(x) < vec4<f32>(0.35)",
        "abs(x) < vec4<f32>(0.0)",
    ),
    everywhere("unary", "tanh: a coefficient", "shared/math", "1.33314422036e-1", "1.332e-1"),
    everywhere(
        "unary",
        "tanh: the sign of large arguments",
        "shared/math",
        "select(large, -large, x < vec4<f32>(0.0))",
        "large",
    ),
    everywhere(
        "unary",
        "sigmoid: mirrored",
        "shared/math",
        "select(vec4<f32>(1.0), e, x < vec4<f32>(0.0))",
        "select(vec4<f32>(1.0), e, x > vec4<f32>(0.0))",
    ),
    everywhere(
        "unary",
        "softplus: the linear part",
        "shared/math",
        "return max(x, vec4<f32>(0.0)) + softplus_rest4",
        "return x + softplus_rest4",
    ),
];

const IN_RANDOM: &[Mutant] = &[
    everywhere("random", "a round constant of Philox", "shared/random", "0xBB67AE85u", "0xBB67AE84u"),
    everywhere("random", "a multiplier of Philox", "shared/random", ", 0xCD9E8D57u * c.z,", ", 0xCD9E8D55u * c.z,"),
    everywhere("random", "uniforms with one bit less", "shared/random", "f32(bits >> 8u)", "f32((bits >> 9u) << 1u)"),
    everywhere(
        "random",
        "the upper half of Exp(1) by plain log",
        "shared/random",
        "let high = bits > vec4<u32>(0xb8000000u);",
        "let high = bits > vec4<u32>(0xfffffffeu);",
    ),
    everywhere("random", "the angle of normals: a coefficient", "shared/random", "4.1666667e-2 + z", "4.16e-2 + z"),
];

/// One removed barrier each; the op reduces by maximum, then twice by sum, with nothing but loads in between.
const IN_REDUCE: &[Mutant] = &[
    on_gpus(
        "cross_entropy",
        "row_sum without its first barrier",
        "shared/reduce",
        "fn row_sum(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * LANES;\n  scratch[base + lane.x] = value;\n  workgroupBarrier();",
        "fn row_sum(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * LANES;\n  scratch[base + lane.x] = value;",
    ),
    on_gpus(
        "cross_entropy",
        "row_sum without the barrier of its tree",
        "shared/reduce",
        "{ scratch[base + lane.x] += scratch[base + lane.x + step]; }\n    workgroupBarrier();",
        "{ scratch[base + lane.x] += scratch[base + lane.x + step]; }",
    ),
    on_gpus(
        "cross_entropy",
        "row_sum without its last barrier",
        "shared/reduce",
        "  workgroupBarrier();\n  return total;\n}\n\n// The larger",
        "  return total;\n}\n\n// The larger",
    ),
    on_gpus(
        "cross_entropy",
        "row_max without its first barrier",
        "shared/reduce",
        "fn row_max(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * LANES;\n  scratch[base + lane.x] = value;\n  workgroupBarrier();",
        "fn row_max(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * LANES;\n  scratch[base + lane.x] = value;",
    ),
    on_gpus(
        "cross_entropy",
        "row_max without its last barrier",
        "shared/reduce",
        "  workgroupBarrier();\n  return total;\n}\n\n// Whether",
        "  return total;\n}\n\n// Whether",
    ),
    on_gpus(
        "cross_entropy",
        "rows share their scratch",
        "shared/reduce",
        "fn row_sum(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * LANES;",
        "fn row_sum(value: f32, lane: vec2<u32>) -> f32 {\n  if (LANES == 1u) { return value; }\n  let base = lane.y * 0u;",
    ),
];

/// A wrong maximum cancels in a cross-entropy, where it is subtracted and added: these need the maximum itself.
const IN_REDUCE_BY_ORDER: &[Mutant] = &[
    on_gpus(
        "reduce",
        "row_max without the barrier of its tree",
        "shared/reduce",
        "scratch[base + lane.x + step]); }\n    workgroupBarrier();",
        "scratch[base + lane.x + step]); }",
    ),
    on_gpus(
        "reduce",
        "row_argmax without its first barrier",
        "shared/reduce",
        "= index;\n  workgroupBarrier();",
        "= index;",
    ),
    on_gpus(
        "reduce",
        "row_argmax without the barrier of its tree",
        "shared/reduce",
        "    workgroupBarrier();\n  }\n  let first",
        "  }\n  let first",
    ),
    Mutant {
        hidden: Some("no kernel uses its scratch again after an argmax"),
        ..on_gpus(
            "reduce",
            "row_argmax without its last barrier",
            "shared/reduce",
            "let first = scratch_index[base];\n  workgroupBarrier();",
            "let first = scratch_index[base];",
        )
    },
    everywhere("reduce", "of equal elements the last wins", "shared/reduce", "(a == b && i < j)", "(a == b && i > j)"),
    on_gpus(
        "reduce",
        "the index stays behind its value",
        "shared/reduce",
        "        scratch_index[a] = scratch_index[b];\n",
        "",
    ),
];

const IN_REDUCE_OF_NAN: &[Mutant] = &[
    everywhere(
        "reduce",
        "max drops NaN",
        "shared/fours",
        "select(max(a, b), a + b, is_nan4(a) | is_nan4(b))",
        "max(a, b)",
    ),
    everywhere("reduce", "argmax passes NaN by", "shared/reduce", "if (na || nb) { return na && (!nb || i < j); }", ""),
    everywhere(
        "reduce",
        "NaN is told by comparison",
        "shared/math",
        "(bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u",
        "x != x",
    ),
];

/// A NaN is the largest of its row, wherever it stands.
fn rows_with_nan(gpu: &Gpu) -> Result<(), Mismatch> {
    let (rows, cols) = (5, 300);
    let exact = Tolerance::new(0.0, 0.0, "one of the elements");
    let places = [0, 77, 178, 255, 299];
    let mut x: Vec<f32> = (0..rows * cols).map(|i| (i % 71) as f32).collect();
    places.iter().enumerate().for_each(|(row, at)| x[row * cols + at] = f32::NAN);
    let x = gpu.tensor(&x, [rows, cols]).unwrap();
    let largest = reduce::over_cols(gpu, reduce::Reduction::Max, &x).unwrap().read().unwrap();
    compare("maxima of rows with a NaN", &label(gpu), &largest, &[f64::NAN; 5], &exact)?;
    let at: Vec<f32> = reduce::argmax(gpu, &x).unwrap().read_u32().unwrap().iter().map(|&i| i as f32).collect();
    compare("argmax of rows with a NaN", &label(gpu), &at, &places.map(|at| at as f64), &exact)?;
    Ok(())
}

const IN_INDEX: &[Mutant] = &[everywhere(
    "unary",
    "the second row of a folded dispatch repeats the first",
    "shared/index",
    "global.y * groups.x * size",
    "global.y * 0u",
)];

/// Element-wise work on more elements than one dimension of a dispatch holds.
fn folded_dispatch(gpu: &Gpu) -> Result<(), Mismatch> {
    let n = 65_535 * 64 + 77;
    let x: Vec<f32> = (0..n).map(|i| (i % 1009) as f32).collect();
    let y: Vec<f32> = x.iter().map(|x| x + 1.0).collect();
    let got = unary::forward(gpu, Unary::Affine { scale: 1.0, shift: 1.0 }, &gpu.tensor(&x, [n]).unwrap()).unwrap();
    same_bits("a folded dispatch", &got.read().unwrap(), &y)
}

const fn everywhere(
    op: &'static str,
    name: &'static str,
    shader: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutant {
    Mutant { op, name, shader, from, to, plan: "both", hidden: None }
}

/// Reductions across lanes exist under one plan only.
const fn on_gpus(
    op: &'static str,
    name: &'static str,
    shader: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutant {
    Mutant { plan: "gpu", ..everywhere(op, name, shader, from, to) }
}

fn mutants() -> impl Iterator<Item = (Check, &'static Mutant)> {
    CHECKS.iter().flat_map(|&(_, check, mutants)| mutants.iter().map(move |mutant| (check, mutant)))
}

fn plans(mutant: &Mutant) -> &'static [Plan] {
    match mutant.plan {
        "cpu" => &[Plan::Cpu],
        "gpu" => &[Plan::Gpu],
        "both" => &[Plan::Cpu, Plan::Gpu],
        other => panic!("{}: plan '{other}'", mutant.name),
    }
}

/// A mutant must be a shader that compiles: one that does not would be rejected by anything.
fn compiles(mutant: &Mutant) -> Result<(), String> {
    let fail = |error: &dyn Display| format!("mutant {:?} of {}: {error}", mutant.name, mutant.op);
    let source = SHADERS.iter().chain(SHARED).find(|(name, _)| *name == mutant.shader);
    let (_, source) = source.ok_or_else(|| fail(&format!("no shader '{}'", mutant.shader)))?;
    mutant.apply(source)?;
    let op = SHADERS.iter().find(|(name, _)| *name == mutant.op).map(|&(name, _)| name);
    let op = op.ok_or_else(|| fail(&"no such op"))?;
    let module = Module::load(op, &[patch(mutant)]).map_err(|error| fail(&error))?;
    module.entries().try_for_each(|(entry, _)| check_barriers(&module, entry).map(drop)).map_err(|error| fail(&error))
}

fn patch(mutant: &Mutant) -> Patch {
    Patch { shader: mutant.shader, from: mutant.from, to: mutant.to }
}

/// What rejected the mutant under `plan`, if anything did.
fn caught_under(check: Check, mutant: &Mutant, plan: Plan) -> Option<String> {
    let gpu = open(GpuConfig { patches: vec![patch(mutant)], plan: Some(plan), ..config() });
    match catch_unwind(AssertUnwindSafe(|| check(&gpu))) {
        Ok(Err(mismatch)) => Some(mismatch.what),
        Err(panic) => Some(format!("a panic: {}", first_line(&*panic))),
        Ok(Ok(())) => gpu.check().err().map(|error| error.to_string()),
    }
}

/// What rejected the mutant under every plan that it is declared for.
fn caught(check: Check, mutant: &Mutant) -> Option<String> {
    let caught: Option<Vec<String>> = plans(mutant).iter().map(|&plan| caught_under(check, mutant, plan)).collect();
    caught.map(|mut checks| checks.swap_remove(0))
}

fn first_line(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or_default().lines().next().unwrap_or_default().chars().take(120).collect()
}

#[test]
fn the_table_lists_every_op() {
    let listed: BTreeSet<&str> = CHECKS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(listed, OPS.iter().map(|op| op.name).collect(), "ops with checks, and all ops");
    for op in listed {
        assert!(mutants().filter(|(_, mutant)| mutant.op == op).count() >= 2, "{op} has fewer than two mutants");
    }
    for (op, _, mutants) in CHECKS {
        assert!(mutants.iter().all(|mutant| mutant.op == *op), "{op} lists mutants of another op");
    }
    let names: BTreeSet<(&str, &str)> = mutants().map(|(_, mutant)| (mutant.op, mutant.name)).collect();
    assert_eq!(names.len(), mutants().count(), "two mutants of an op have the same name");
}

#[test]
fn every_mutant_is_caught() {
    // `SOFTURN_MUTANTS=softmax,unary` runs those of these ops alone, while one works on them.
    let wanted = std::env::var("SOFTURN_MUTANTS").unwrap_or_default();
    let is_wanted = |op: &str| wanted.is_empty() || wanted.split(',').any(|wanted| wanted == op);
    let mutants: Vec<(Check, &Mutant)> = mutants().filter(|(_, mutant)| is_wanted(mutant.op)).collect();
    assert!(!mutants.is_empty(), "SOFTURN_MUTANTS={wanted} names no op");
    let wrong: Vec<String> = mutants.iter().filter_map(|(_, mutant)| compiles(mutant).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The rows that no op's own test runs on a right kernel.
    gpus().iter().for_each(|gpu| folded_dispatch(gpu).and(rows_with_nan(gpu)).unwrap());

    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(vec![None; mutants.len()]));
    // Two, the cores of the smallest machine: most of the time goes into compiling shaders, on one core each.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some((check, mutant)) = mutants.get(i) else { break };
                    let outcome = caught(*check, mutant);
                    outcomes.lock().unwrap()[i] = outcome;
                }
            });
        }
    });
    let mut report = MutationReport::new();
    let mut told = Vec::new();
    for ((_, mutant), outcome) in mutants.iter().zip(outcomes.into_inner().unwrap()) {
        if mutant.hidden.is_some() && outcome.is_some() {
            told.push(mutant.name);
        }
        report.record(mutant, outcome);
    }
    report.assert_all_caught();
    // Other adapters may see more than the one that the list was made on.
    let lavapipe = gpus()[0].capabilities().name.contains("llvmpipe");
    assert!(!lavapipe || told.is_empty(), "declared as hidden, but caught: {told:?}");
}
