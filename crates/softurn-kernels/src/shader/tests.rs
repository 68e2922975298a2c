//! Tests of composition, reflection and the checks, and the table of all shaders that `cargo xtask shaders` prints.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::registry;
use super::*;
use crate::ops::{OPS, RowPlan};
use crate::testing::{log_pipeline, log_shader};
use crate::{Error, Result};

/// WebGPU's default limits, which every shader must keep under every plan.
const WORKGROUP_BYTES: u32 = 16 << 10;
const INVOCATIONS: u32 = 256;

/// The constants under which a shader is checked: none, and those of a row plan where it declares them.
fn constants(module: &Module) -> Vec<Vec<(&'static str, f64)>> {
    let declares = |name: &str| module.naga.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name));
    let mut list = vec![Vec::new()];
    if declares("LANES") && declares("ROWS") {
        for lanes in [1, 64, 256] {
            list.push(RowPlan { lanes, rows: (64 / lanes).max(1) }.constants().to_vec());
        }
    }
    list
}

/// Invocations of a workgroup of `entry` under these constants.
fn invocations(module: &Module, entry: &str, constants: &[(&str, f64)]) -> u32 {
    let constants = constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let stage = Some((naga::ShaderStage::Compute, entry));
    let (resolved, _) =
        naga::back::pipeline_constants::process_overrides(&module.naga, &module.info, stage, &constants).unwrap();
    let point = resolved.entry_points.iter().find(|point| point.name == entry).unwrap();
    point.workgroup_size.iter().product()
}

#[test]
fn every_shader_keeps_the_rules() {
    let mut table = format!(
        "\n{:28} {:22} {:>8} {:>9} {:>8}  {}\n",
        "shader", "entry", "bindings", "workgroup", "barriers", "parameters"
    );
    for &(name, _) in SHADERS {
        let module = Module::load(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(module.entries().next().is_some(), "{name} has no entry point");
        log_shader(&serde_json::json!({ "module": name, "source": module.source(), "origins": module.origins() }));
        for (entry, reflected) in module.entries() {
            let mut bytes = 0;
            for constants in constants(&module) {
                log_pipeline(name, entry, &constants);
                let used = check_workgroup_memory(&module, entry, &constants, WORKGROUP_BYTES);
                bytes = bytes.max(used.unwrap_or_else(|error| panic!("{error} under {constants:?}")));
                let invocations = invocations(&module, entry, &constants);
                assert!(invocations <= INVOCATIONS, "{name} {entry}: {invocations} invocations under {constants:?}");
            }
            let barriers = check_barriers(&module, entry).unwrap_or_else(|error| panic!("{error}"));
            let params: Vec<&str> = reflected.params.iter().map(|(name, _)| name.as_str()).collect();
            let bindings: String = reflected.bindings.iter().map(|b| if b.writable { 'w' } else { 'r' }).collect();
            assert!(bindings.contains('w'), "{name} {entry} writes nothing");
            assert!(!bindings.contains("wr"), "{name} {entry}: outputs come after inputs, got {bindings}");
            assert!(reflected.params_bytes > 0, "{name} {entry} does not use its parameters");
            let params = params.join(" ");
            writeln!(table, "{name:28} {entry:22} {bindings:>8} {bytes:>9} {barriers:>8}  {params}").unwrap();
        }
    }
    println!("{table}");
}

#[test]
fn every_op_has_a_shader_with_its_parameters() {
    let names: Vec<&str> = OPS.iter().map(|op| op.name).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "an op is listed twice");
    assert_eq!(distinct, SHADERS.iter().map(|&(name, _)| name).collect(), "ops and shaders differ");
    for op in OPS {
        let module = Module::load(registry_name(op.name), &[]).unwrap();
        let host: Vec<(String, u32)> = op.params.iter().map(|&(name, at)| (name.to_owned(), at as u32)).collect();
        for (entry, reflected) in module.entries() {
            assert_eq!(host, reflected.params, "{} {entry}: parameters of host and shader differ", op.name);
            let end = host.last().map_or(0, |&(_, at)| at + 4);
            assert_eq!(end, reflected.params_bytes, "{} {entry}: parameters have padding or are not scalars", op.name);
        }
        let backward = module.entries().any(|(entry, _)| entry.starts_with("backward"));
        assert_eq!(
            op.differentiable, backward,
            "{}: differentiable, but no entry 'backward' (or the reverse)",
            op.name
        );
    }
}

fn registry_name(op: &str) -> &'static str {
    SHADERS.iter().find(|(name, _)| *name == op).map(|&(name, _)| name).unwrap()
}

#[test]
fn shared_files_compose_alone() {
    for &(name, _) in SHARED {
        Module::load(name, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert!(registry::source(name).is_some());
    }
}

/// The message of a shader error.
#[track_caller]
fn message<T>(result: Result<T>) -> String {
    match result.err() {
        Some(Error::Shader { message, .. }) => message,
        Some(other) => panic!("{other}"),
        None => panic!("no error"),
    }
}

#[test]
fn errors_name_the_file_and_line_that_the_author_wrote() {
    let line =
        |text: &str| 1 + registry::source("shared/math").unwrap().lines().position(|l| l.contains(text)).unwrap();
    let at = format!("shaders/shared/math.wgsl:{}: ", line("fn f_expm1(x"));

    let syntax = Patch { shader: "shared/math", from: "fn f_expm1(x: f32)", to: "fn f_expm1(x: f32 f32)" };
    let error = message(Module::load("unary", &[syntax]));
    assert!(error.starts_with(&at), "{error}");

    let line = line("fn pow2i4");
    let types = Patch {
        shader: "shared/math",
        from: "{ return bitcast<vec4<f32>>(vec4<u32>(clamp",
        to: "{ return (vec4<u32>(clamp",
    };
    let error = message(Module::load("unary", &[types]));
    assert!(error.starts_with(&format!("shaders/shared/math.wgsl:{line}: ")), "{error}");

    // The line after an import: its number in the composed text is far larger.
    let text = registry::source("unary").unwrap();
    let line = 1 + text.lines().position(|l| l.starts_with("override FUNCTION")).unwrap();
    let own = Patch { shader: "unary", from: "override FUNCTION: u32 = 0u", to: "override FUNCTION: u32 = 0.5" };
    let error = message(Module::load("unary", &[own]));
    assert!(error.starts_with(&format!("shaders/unary.wgsl:{line}: ")), "{error}");
}

#[test]
fn composition_reports_what_is_missing() {
    let patch = |from| Patch { shader: "unary", from, to: "" };
    let error = message(Module::load("unary", &[patch("no such text")]));
    assert!(error.contains("'no such text' does not apply"), "{error}");
    let import = Patch { shader: "unary", from: "#import index", to: "#import nothing" };
    assert!(Module::load("unary", &[import]).err().unwrap().to_string().contains("shared/nothing"));
    let module = Module::load("unary", &[]).unwrap();
    assert!(message(module.entry("sideways").map(|_| ())).contains("'sideways'"));
    assert!(message(check_barriers(&module, "sideways")).contains("'sideways'"));
}

#[test]
fn an_import_is_taken_once() {
    // Both of unary's imports and reduce's own name index and math.
    let twice = Patch { shader: "unary", from: "#import math", to: "#import math\n#import math" };
    Module::load("unary", &[twice]).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn bindings_that_dispatches_do_not_know_are_rejected() {
    let main = |declarations: &str, body: &str| {
        Module::from_text(&format!("{declarations}\n@compute @workgroup_size(1) fn main() {{ {body} }}"))
    };
    let cases = [
        ("@group(0) @binding(1) var<storage, read_write> y: array<f32>;", "y[0] = 1.0;", "not 0, 1, 2"),
        ("@group(1) @binding(0) var<storage, read_write> y: array<f32>;", "y[0] = 1.0;", "not at a place"),
        (
            "@group(0) @binding(0) var<storage, read_write> y: array<f32>; @group(1) @binding(1) var<uniform> p: u32;",
            "y[p] = 1.0;",
            "not at a place",
        ),
        (
            "@group(0) @binding(0) var<storage, read_write> y: array<f32>; @group(1) @binding(0) var<uniform> p: u32;",
            "y[p] = 1.0;",
            "not a struct",
        ),
    ];
    for (declarations, body, expected) in cases {
        let error = message(main(declarations, body));
        assert!(error.contains(expected), "{error}");
    }
    let nine: String =
        (0..9).map(|i| format!("@group(0) @binding({i}) var<storage, read_write> y{i}: array<f32>;\n")).collect();
    let body: String = (0..9).map(|i| format!("y{i}[0] = 1.0;")).collect();
    assert!(message(main(&nine, &body)).contains("9 storage buffers"));
}

#[test]
fn too_much_workgroup_memory_is_rejected() {
    let module = Module::from_text(
        "override N: u32 = 1024u;
         var<workgroup> big: array<f32, 20480>;
         var<workgroup> sized: array<f32, N>;
         var<workgroup> unused: array<f32, 999999>;
         @group(0) @binding(0) var<storage, read_write> y: array<f32>;
         @compute @workgroup_size(1) fn large() { big[0] = 1.0; y[0] = big[0]; }
         @compute @workgroup_size(1) fn small() { helper(); }
         fn helper() { sized[0] = 1.0; y[0] = sized[0]; }",
    )
    .unwrap();
    let error = message(check_workgroup_memory(&module, "large", &[], 32 << 10));
    assert!(error.contains("81920 bytes of workgroup memory, the limit is 32768"), "{error}");
    assert_eq!(check_workgroup_memory(&module, "large", &[], 80 << 10).unwrap(), 80 << 10);
    assert_eq!(check_workgroup_memory(&module, "small", &[], 16 << 10).unwrap(), 4 << 10);
    assert_eq!(check_workgroup_memory(&module, "small", &[("N", 4096.0)], 16 << 10).unwrap(), 16 << 10);
    message(check_workgroup_memory(&module, "small", &[("N", 4097.0)], 16 << 10));
    message(check_workgroup_memory(&module, "small", &[("M", 1.0)], 16 << 10));
    message(check_workgroup_memory(&module, "medium", &[], 16 << 10));
}

/// What the barrier tests declare; `main` gets a body, and the file may hold more functions.
fn with_barriers(body: &str, more: &str) -> Result<usize> {
    let module = Module::from_text(&format!(
        "struct Params {{ n: u32, m: u32 }}
         override LANES: u32 = 1u;
         @group(0) @binding(0) var<storage, read> x: array<u32>;
         @group(0) @binding(1) var<storage, read_write> y: array<u32>;
         @group(1) @binding(0) var<uniform> params: Params;
         var<workgroup> shared_word: u32;
         var<workgroup> counter: atomic<u32>;
         var<private> mine: u32;
         {more}
         @compute @workgroup_size(64)
         fn main(@builtin(local_invocation_index) local: u32, @builtin(local_invocation_id) id: vec3<u32>,
                 @builtin(global_invocation_id) global: vec3<u32>, @builtin(workgroup_id) group: vec3<u32>,
                 @builtin(num_workgroups) groups: vec3<u32>) {{ y[63] = x[0];
           {body}
         }}"
    ))
    .unwrap_or_else(|error| panic!("{error}\n{body}"));
    check_barriers(&module, "main")
}

#[test]
fn barriers_in_non_uniform_control_flow_are_rejected() {
    let wait = "fn wait() { workgroupBarrier(); }";
    let cases = [
        ("in an if", "if (local < 8u) { workgroupBarrier(); }", ""),
        ("in an else", "if (local < 8u) { y[0] = 1u; } else { storageBarrier(); }", ""),
        ("on a component", "if (id.y == 0u) { workgroupBarrier(); }", ""),
        ("in a loop bounded by the local index", "for (var i = 0u; i < local; i++) { workgroupBarrier(); }", ""),
        ("in a loop that starts at the local index", "for (var i = local; i < 64u; i++) { workgroupBarrier(); }", ""),
        ("in a while loop", "var i = 0u; while (i < global.x) { workgroupBarrier(); i += 1u; }", ""),
        ("in a continuing block", "loop { if (local == 0u) { break; } continuing { workgroupBarrier(); } }", ""),
        ("break if", "var i = 0u; loop { workgroupBarrier(); i++; continuing { break if i > local; } }", ""),
        ("after an early return", "if (local >= 8u) { return; } workgroupBarrier();", ""),
        ("after an early return by the global id", "if (global.x >= params.n) { return; } workgroupBarrier();", ""),
        (
            "after a return in a loop",
            "for (var i = 0u; i < 4u; i++) { if (local == i) { return; } } workgroupBarrier();",
            "",
        ),
        (
            "after a break in a loop",
            "for (var i = 0u; i < 4u; i++) { if (local == i) { break; } workgroupBarrier(); }",
            "",
        ),
        (
            "before a break in a loop",
            "for (var i = 0u; i < 4u; i++) { workgroupBarrier(); if (local == i) { break; } }",
            "",
        ),
        ("after a continue", "for (var i = 0u; i < 4u; i++) { if (local == i) { continue; } workgroupBarrier(); }", ""),
        ("in a switch", "switch local { case 0u: { workgroupBarrier(); } default: {} }", ""),
        (
            "after a break in a switch",
            "switch params.n { case 0u: { if (local == 0u) { break; } workgroupBarrier(); } default: {} }",
            "",
        ),
        ("after a return in a switch", "switch local { case 0u: { return; } default: {} } workgroupBarrier();", ""),
        ("in a called function", "if (local < 8u) { wait(); }", wait),
        ("two calls down", "if (local < 8u) { outer(); }", "fn wait() { workgroupBarrier(); } fn outer() { wait(); }"),
        ("in a function called twice", "wait(); if (local < 8u) { wait(); }", wait),
        ("by an argument", "wait(params.n); wait(local);", "fn wait(n: u32) { if (n > 2u) { workgroupBarrier(); } }"),
        ("by a result", "if (pick(local) > 2u) { workgroupBarrier(); }", "fn pick(n: u32) -> u32 { return n * 2u; }"),
        (
            "by a result that depends on flow",
            "if (pick(local) > 2u) { workgroupBarrier(); }",
            "fn pick(n: u32) -> u32 { if (n > 2u) { return 1u; } return 3u; }",
        ),
        (
            "by a pointer",
            "var v = 0u; assign(&v, local); if (v > 2u) { workgroupBarrier(); }",
            "fn assign(p: ptr<function, u32>, n: u32) { *p = n; }",
        ),
        (
            "by a pointer under branching",
            "var v = 0u; assign(&v, local); if (v > 2u) { workgroupBarrier(); }",
            "fn assign(p: ptr<function, u32>, n: u32) { if (n == 1u) { *p = 1u; } }",
        ),
        ("on written storage", "if (y[0] > 2u) { workgroupBarrier(); }", ""),
        ("on storage at the local index", "if (x[local] > 2u) { workgroupBarrier(); }", ""),
        ("on workgroup memory", "if (shared_word > 2u) { workgroupBarrier(); }", ""),
        ("on private memory", "if (mine > 2u) { workgroupBarrier(); }", ""),
        ("on an atomic", "if (atomicAdd(&counter, 1u) == 0u) { workgroupBarrier(); }", ""),
        ("on a variable", "var v = 0u; v = local; let w = v * 2u; if (w > 2u) { workgroupBarrier(); }", ""),
        (
            "on a variable set in a branch",
            "var v = 0u; if (local > 2u) { v = 1u; } if (v > 0u) { workgroupBarrier(); }",
            "",
        ),
        (
            "on a variable set later in a loop",
            "var v = 0u; for (var i = 0u; i < 4u; i++) { if (v > 2u) { workgroupBarrier(); } v = local; }",
            "",
        ),
        (
            "on an array at the local index",
            "var a = array<u32, 4>(); a[local % 4u] = 1u; if (a[0] > 0u) { workgroupBarrier(); }",
            "",
        ),
        ("on a short-circuit", "if (params.n > 2u && local > 2u) { workgroupBarrier(); }", ""),
        ("on a select", "if (select(1u, 2u, local > 2u) > 1u) { workgroupBarrier(); }", ""),
        ("workgroupUniformLoad", "if (local < 8u) { y[0] = workgroupUniformLoad(&shared_word); }", ""),
        ("subgroupAdd", "if (local < 8u) { y[0] = subgroupAdd(1u); }", ""),
        ("subgroupBallot", "if (local < 8u) { y[0] = subgroupBallot(true).x; }", ""),
        ("subgroupBroadcast", "if (local < 8u) { y[0] = subgroupBroadcast(local, 0u); }", ""),
        ("subgroup result", "if (subgroupAdd(1u) > 2u) { workgroupBarrier(); }", ""),
    ];
    for (name, body, more) in cases {
        match with_barriers(body, more) {
            Ok(n) => panic!("{name}: {n} barriers accepted\n{body}"),
            Err(error) => println!("{name}: {error}"),
        }
    }
}

#[test]
fn barriers_in_uniform_control_flow_are_accepted() {
    let cases = [
        ("none", 0, "if (local == 0u) { return; } y[local] = 1u;", ""),
        ("plain", 2, "workgroupBarrier(); y[local] = 1u; storageBarrier();", ""),
        ("workgroup id", 1, "if (group.x == 0u) { workgroupBarrier(); }", ""),
        ("workgroup count", 1, "for (var i = 0u; i < groups.x; i++) { workgroupBarrier(); }", ""),
        ("override", 1, "if (LANES == 1u) { return; } workgroupBarrier();", ""),
        ("uniform buffer", 1, "if (params.n > 2u && params.m < 3u) { workgroupBarrier(); }", ""),
        ("read-only storage", 1, "for (var i = x[group.x]; i < x[group.x + 1u]; i++) { workgroupBarrier(); }", ""),
        ("length", 1, "if (arrayLength(&y) > 3u) { workgroupBarrier(); }", ""),
        (
            "workgroupUniformLoad",
            2,
            "let n = workgroupUniformLoad(&shared_word); if (n > 2u) { workgroupBarrier(); }",
            "",
        ),
        ("after a branch", 1, "if (local == 0u) { shared_word = 1u; } workgroupBarrier();", ""),
        ("after a loop", 1, "for (var i = local; i < 99u; i += 64u) { y[i] = 1u; } workgroupBarrier();", ""),
        (
            "after breaks of an inner loop",
            1,
            "for (var i = 0u; i < 9u; i++) { loop { if (local > i) { break; } } workgroupBarrier(); }",
            "",
        ),
        (
            "after breaks of a switch",
            1,
            "switch local { case 0u: { if (global.x > 1u) { break; } y[0] = 1u; } default: {} } workgroupBarrier();",
            "",
        ),
        ("uniform break", 1, "for (var i = 0u; i < 9u; i++) { if (i > params.n) { break; } workgroupBarrier(); }", ""),
        (
            "tree",
            2,
            "workgroupBarrier(); for (var s = LANES / 2u; s > 0u; s /= 2u) { if (local < s) { y[local] += y[local + s]; } workgroupBarrier(); }",
            "",
        ),
        (
            "data only",
            2,
            "shared_word = local; workgroupBarrier(); let t = shared_word; workgroupBarrier(); y[local] = t;",
            "",
        ),
        (
            "called twice with different data",
            1,
            "wait(local); wait(params.n);",
            "fn wait(v: u32) { shared_word = v; workgroupBarrier(); }",
        ),
        (
            "a callee that returns early",
            1,
            "skip(local); workgroupBarrier();",
            "fn skip(n: u32) { if (n > 2u) { return; } y[n] = 1u; }",
        ),
        (
            "uniform result",
            1,
            "if (twice(params.n) > 2u) { workgroupBarrier(); }",
            "fn twice(n: u32) -> u32 { return 2u * n; }",
        ),
        (
            "uniform pointer",
            1,
            "var v = 0u; assign(&v, params.n); if (v > 2u) { workgroupBarrier(); }",
            "fn assign(p: ptr<function, u32>, n: u32) { *p = n; }",
        ),
        ("subgroup", 1, "y[local] = subgroupAdd(local);", ""),
    ];
    for (name, expected, body, more) in cases {
        match with_barriers(body, more) {
            Ok(n) => assert_eq!(n, expected, "{name}"),
            Err(error) => panic!("{name}: {error}\n{body}"),
        }
    }
}

#[test]
fn a_rejected_barrier_names_its_line_and_the_branch() {
    let error = message(with_barriers("\n\nif (local < 8u) {\n  wait();\n}", "fn wait() {\n workgroupBarrier();\n}"));
    let barrier = 9 + 1;
    let branch = barrier + 1 + 4 + 3;
    assert_eq!(
        error,
        format!(
            "shaders/test.wgsl:{barrier}: main: a barrier in non-uniform control flow: \
             the branch at shaders/test.wgsl:{branch} depends on local_invocation_index"
        )
    );
    // A long chain of values that are each used twice must not take long.
    let chain: String = (1..200).map(|i| format!("let v{i} = v{} + v{};\n", i - 1, i - 1)).collect();
    let body = format!("let v0 = local;\n{chain} if (v199 > 0u) {{ workgroupBarrier(); }}");
    assert!(message(with_barriers(&body, "")).contains("local_invocation_index"));
}

#[test]
fn a_barrier_moved_into_a_branch_of_a_shader_is_rejected() {
    let moved = Patch {
        shader: "shared/reduce",
        from: "{ scratch[base + lane.x] += scratch[base + lane.x + step]; }\n    workgroupBarrier();",
        to: "{ scratch[base + lane.x] += scratch[base + lane.x + step]; workgroupBarrier(); }",
    };
    let text = "#import reduce
        @group(0) @binding(0) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(LANES * ROWS) fn main(@builtin(local_invocation_index) local: u32) {
          y[local] = row_sum(1.0, lane_and_row(local));
        }";
    let whole = Patch { shader: "unary", from: registry::source("unary").unwrap(), to: text };
    let module = Module::load("unary", std::slice::from_ref(&whole)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(check_barriers(&module, "main").unwrap(), 3);
    let module = Module::load("unary", &[whole, moved]).unwrap_or_else(|error| panic!("{error}"));
    let error = message(check_barriers(&module, "main"));
    assert!(error.starts_with("shaders/shared/reduce.wgsl:"), "{error}");
}
