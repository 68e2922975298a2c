//! Tests of the context: recording, pool, guards, limits, sticky errors, choice of adapter. What breaks a device or
//! counts on it opens one of its own.

use std::future::Future as _;

use super::pipeline::Call;
use super::pool::{GUARD, POISON};
use super::recorder::Command;
use super::*;
use crate::Key;
use crate::ops::binary::{self, Binary};
use crate::ops::unary::{Unary, backward, forward};
use crate::testing::{config, gpus, open};

/// `scale · x + shift`, the kernel of these tests: exact for small integers.
fn affine(gpu: &Gpu, x: &Tensor, scale: f32, shift: f32) -> Tensor {
    forward(gpu, Unary::Affine { scale, shift }, x).unwrap()
}

fn plain() -> Gpu {
    open(GpuConfig::default())
}

fn count(n: usize) -> Vec<f32> {
    (0..n).map(|i| i as f32).collect()
}

#[track_caller]
fn device_error<T: fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::Device(message)) => message,
        other => panic!("not a device error: {other:?}"),
    }
}

#[test]
fn every_dispatch_keeps_its_own_parameters() {
    for gpu in gpus() {
        let x = gpu.tensor(&count(5), [5]).unwrap();
        let (a, b) = (affine(gpu, &x, 2.0, 0.0), affine(gpu, &x, 1.0, 10.0));
        assert_eq!(a.read().unwrap(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(b.read().unwrap(), [10.0, 11.0, 12.0, 13.0, 14.0]);
    }
}

#[test]
fn more_dispatches_than_one_submit_holds() {
    let gpu = plain();
    let x = gpu.tensor(&count(3), [3]).unwrap();
    let mut chain = x.clone();
    let mut kept = Vec::new();
    for i in 0..333 {
        chain = affine(&gpu, &chain, 1.0, 1.0);
        kept.push(affine(&gpu, &x, i as f32, 0.5));
    }
    assert_eq!(gpu.counters().dispatches, 666);
    assert_eq!(chain.read().unwrap(), [333.0, 334.0, 335.0]);
    for (i, y) in kept.iter().enumerate() {
        let i = i as f32;
        assert_eq!(y.read().unwrap(), [0.5, i + 0.5, 2.0 * i + 0.5]);
    }
    assert_eq!(gpu.counters().dispatches, 666, "reading dispatches nothing");
}

#[test]
fn counters_tell_what_was_asked_for() {
    let gpu = plain();
    let before = gpu.counters();
    let x = gpu.tensor(&count(6), [2, 3]).unwrap();
    let row = gpu.tensor(&count(3), [3]).unwrap();
    let sum = binary::forward(&gpu, Binary::Add, &x, &row).unwrap();
    let twice = binary::forward(&gpu, Binary::Add, &x, &x).unwrap();
    gpu.copy(&sum, &twice).unwrap();
    gpu.zeros([5]).unwrap();
    twice.read().unwrap();
    let expected = Counters {
        dispatches: 2,
        submissions: 1,
        bind_groups: 2,
        // x, row and the sum; then x once, though bound twice, and the other sum.
        bound_bytes: 4 * (6 + 3 + 6) + 4 * (6 + 6),
        copied_bytes: 2 * 24 + 20,
        uploaded_bytes: 36,
        read_back_bytes: 24,
    };
    assert_eq!(gpu.counters().since(&before), expected);
}

#[test]
fn commands_run_in_the_order_of_recording() {
    for gpu in gpus() {
        let x = gpu.tensor(&[1.0f32, 2.0], [2]).unwrap();
        let before = affine(gpu, &x, 1.0, 0.0);
        let other = gpu.tensor(&[7.0f32, 8.0], [2]).unwrap();
        gpu.copy(&other, &x).unwrap();
        let after = affine(gpu, &x, 1.0, 0.0);
        gpu.copy(&gpu.zeros([2]).unwrap(), &x).unwrap();
        gpu.flush();
        assert_eq!(before.read().unwrap(), [1.0, 2.0]);
        assert_eq!(after.read().unwrap(), [7.0, 8.0]);
        assert_eq!(x.read().unwrap(), [0.0, 0.0]);
    }
}

#[test]
fn uploads_do_not_overtake_each_other() {
    // More uploads than one submit holds, each read by a kernel that is recorded before the next.
    let gpu = plain();
    let target = gpu.zeros([4]).unwrap();
    let sums: Vec<Tensor> = (0..300)
        .map(|i| {
            gpu.copy(&gpu.tensor(&[i as f32; 4], [4]).unwrap(), &target).unwrap();
            affine(&gpu, &target, 2.0, 1.0)
        })
        .collect();
    for (i, sum) in sums.iter().enumerate() {
        assert_eq!(sum.read().unwrap(), [2.0 * i as f32 + 1.0; 4]);
    }
}

#[test]
fn views_share_and_zeros_are_zero() {
    for gpu in gpus() {
        let x = gpu.tensor(&count(200), [200]).unwrap();
        let view = x.view(64, [2, 10]).unwrap();
        assert_eq!(view.read().unwrap(), &count(200)[64..84]);
        assert_eq!(view.view(0, [3]).unwrap().read().unwrap(), [64.0, 65.0, 66.0]);
        assert_eq!(x.view(64, [136]).unwrap().view(64, [2]).unwrap().read().unwrap(), [128.0, 129.0]);
        let y = affine(gpu, &x.view(128, [72]).unwrap(), -1.0, 0.0).read().unwrap();
        assert_eq!((y.len(), y[0], y[71]), (72, -128.0, -199.0));
        gpu.copy(&gpu.zeros([10]).unwrap(), &x.view(64, [10]).unwrap()).unwrap();
        let values = x.read().unwrap();
        assert!(values[64..74].iter().all(|&v| v == 0.0) && values[63] == 63.0 && values[74] == 74.0);
        assert_eq!(x.reshape([10, 20]).unwrap().shape().rows_cols(), (10, 20));
        assert_eq!(gpu.zeros([3, 3]).unwrap().read().unwrap(), [0.0; 9]);
        assert_eq!(gpu.tensor(&[2.5f32], []).unwrap().item().unwrap(), 2.5);
        for (start, shape) in [(1, 1), (64, 137), (256, 0), (usize::MAX - 63, 64)] {
            assert!(matches!(x.view(start, [shape]), Err(Error::Argument { op: "view", .. })), "{start} {shape}");
        }
        assert!(matches!(x.reshape([201]), Err(Error::Shape { op: "reshape", .. })));
        assert!(matches!(x.item(), Err(Error::Shape { op: "item", .. })));
    }
}

#[test]
fn element_types_are_checked() {
    let gpu = &gpus()[0];
    let (floats, words) = (gpu.tensor(&[1.0f32], [1]).unwrap(), gpu.tensor(&[7u32], [1]).unwrap());
    assert_eq!(words.read_u32().unwrap(), [7]);
    assert!(matches!(words.read(), Err(Error::Argument { op: "read", .. })));
    assert!(matches!(floats.read_u32(), Err(Error::Argument { op: "read_u32", .. })));
    assert!(matches!(words.item(), Err(Error::Argument { .. })));
    assert!(gpu.copy(&floats, &words).is_err());
    assert!(gpu.copy(&floats, &gpu.zeros([2]).unwrap()).is_err());
    assert!(matches!(backward(gpu, Unary::Exp, &floats, &words), Err(Error::Argument { argument: "dy", .. })));
    assert!(matches!(gpu.tensor(&[1.0f32], [2]), Err(Error::Shape { op: "tensor", .. })));
    assert!(matches!(gpu.tensor(&[1.0f32], [usize::MAX, 3]), Err(Error::Shape { .. })));
    gpu.check().unwrap();
}

#[test]
fn empty_tensors_cost_nothing() {
    let gpu = open(config());
    let empty = gpu.tensor::<f32>(&[], [0, 5]).unwrap();
    assert_eq!(affine(&gpu, &empty, 1.0, 1.0).read().unwrap(), [0.0; 0]);
    assert_eq!(gpu.zeros([3, 0]).unwrap().read().unwrap(), [0.0; 0]);
    gpu.copy(&empty, &gpu.zeros([0]).unwrap()).unwrap();
    assert_eq!(empty.view(0, [0]).unwrap().len(), 0);
    assert_eq!(gpu.counters().dispatches, 0);
}

#[test]
fn dropped_buffers_are_reused() {
    let gpu = plain();
    assert_eq!(gpu.pool_statistics(), PoolStatistics::default());
    let mut x = gpu.zeros([1000]).unwrap();
    let one = gpu.pool_statistics();
    assert!(one.created == 1 && one.allocated_bytes >= 4000 && one.allocated_bytes <= 5120, "{one:?}");
    assert_eq!((one.in_use_bytes, one.high_water_bytes), (one.allocated_bytes, one.allocated_bytes));
    for _ in 0..100 {
        x = affine(&gpu, &x, 1.0, 1.0);
    }
    assert_eq!(x.read().unwrap(), [100.0; 1000]);
    let two = gpu.pool_statistics();
    assert_eq!((two.created, two.in_use_bytes), (2, one.in_use_bytes), "{two:?}");
    assert_eq!(two.high_water_bytes, 2 * one.in_use_bytes);
    let view = x.view(64, [10]).unwrap();
    drop(x);
    assert_eq!(gpu.pool_statistics().in_use_bytes, one.in_use_bytes, "a view keeps its buffer");
    drop(view);
    assert_eq!(gpu.pool_statistics().in_use_bytes, 0);
    assert_eq!(gpu.pool_statistics().high_water_bytes, 2 * one.in_use_bytes);
    gpu.reset_high_water();
    assert_eq!(gpu.pool_statistics().high_water_bytes, 0);
    let other_size = gpu.zeros([5000]).unwrap();
    assert_eq!(gpu.pool_statistics().created, 3);
    assert_eq!(other_size.read().unwrap(), [0.0; 5000]);
}

#[test]
fn poisoned_buffers_are_reused_after_their_guards_were_read() {
    let gpu = open(config());
    let x = gpu.tensor(&count(300), [300]).unwrap();
    drop(affine(&gpu, &x, 1.0, 0.0));
    let created = gpu.pool_statistics().created;
    let y = affine(&gpu, &x, 1.0, 0.0);
    assert_eq!(gpu.pool_statistics().created, created + 1, "the guards of the first were not read yet");
    y.read().unwrap();
    let z = gpu.uninitialised("test", [300].into(), DataType::U32).unwrap();
    assert_eq!(gpu.pool_statistics().created, created + 1, "now they were");
    assert_eq!(z.read_u32().unwrap(), [POISON; 300], "reused buffers are poisoned again");
}

#[test]
fn uninitialised_tensors_are_poisoned() {
    for gpu in gpus() {
        // The last is larger than the source that poison is copied from.
        for n in [1, 63, 64, 65, 1000, 300_000] {
            let words = gpu.uninitialised("test", [n].into(), DataType::U32).unwrap().read_u32().unwrap();
            assert!(words.len() == n && words.iter().all(|&word| word == POISON), "{n}");
        }
        let float = gpu.uninitialised("test", [1].into(), DataType::F32).unwrap();
        assert!(float.item().unwrap().is_nan());
        assert!(affine(gpu, &float, 0.0, 1.0).item().unwrap().is_nan(), "poison propagates");
    }
}

/// Overwrites the word at `offset` of a tensor's buffer.
fn scribble(gpu: &Gpu, tensor: &Tensor, offset: u64) {
    let word = gpu.tensor(&[5u32], [1]).unwrap();
    gpu.record(Command::Copy {
        source: word.buffer().raw().clone(),
        source_offset: word.offset(),
        target: tensor.buffer().raw().clone(),
        target_offset: offset,
        bytes: 4,
    });
}

// Kernels bind exactly a tensor's bytes, and drivers discard or clamp what is out of bounds: a kernel that writes past
// its tensor usually shows as a wrong or poisoned element. Guards are for everything else, so that is what is tested.
#[test]
fn writes_outside_of_a_tensor_are_detected() {
    for n in [1, 64, 77, 1000] {
        let end = GUARD + 4 * n as u64;
        for (offset, detected) in
            [(0, true), (GUARD - 4, true), (GUARD, false), (end - 4, false), (end, true), (end + GUARD - 4, true)]
        {
            let gpu = open(config());
            let (x, other) = (gpu.tensor(&count(n), [n]).unwrap(), gpu.zeros([1]).unwrap());
            scribble(&gpu, &x, offset);
            assert_eq!(other.item(), Ok(0.0), "guards are read when their tensor is dropped");
            drop(x);
            match other.item() {
                Ok(value) => assert!(!detected && value == 0.0, "[{n}] at {offset} was not detected"),
                error => {
                    let message = device_error(error);
                    assert!(
                        detected && message.contains(&format!("a tensor of {} bytes", 4 * n)),
                        "{offset} {message}"
                    );
                    device_error(other.item());
                }
            }
        }
    }
}

#[test]
fn a_kernel_that_misses_its_elements_is_seen() {
    let patches = vec![Patch { shader: "unary", from: "y[i] = value(", to: "y[i + 1u] = value(" }];
    let gpu = open(GpuConfig { patches, ..config() });
    let y = affine(&gpu, &gpu.tensor(&[1.0f32; 9], [9]).unwrap(), 1.0, 0.0).read().unwrap();
    assert_eq!(y[0].to_bits(), POISON);
}

#[test]
fn what_is_too_large_is_an_error() {
    let gpu = open(GpuConfig { max_binding_bytes: Some(1024), ..config() });
    assert_eq!(gpu.capabilities().max_binding_bytes, 1024);
    assert_eq!(gpu.zeros([256]).unwrap().read().unwrap(), [0.0; 256]);
    let too_large = |what: &str, needed| Error::TooLarge { what: what.into(), unit: "bytes", needed, limit: 1024 };
    assert_eq!(gpu.zeros([257]).unwrap_err(), too_large("zeros [257]", 1028));
    assert_eq!(gpu.tensor(&[1u32; 300], [3, 100]).unwrap_err(), too_large("tensor [3, 100]", 1200));
    assert_eq!(gpu.zeros([usize::MAX, 2]).unwrap_err(), too_large(&format!("zeros [{}, 2]", usize::MAX), u64::MAX));
    gpu.check().unwrap();
    let gpu = plain();
    let limit = gpu.capabilities().max_binding_bytes;
    assert!(matches!(gpu.zeros([limit as usize / 4 + 1]), Err(Error::TooLarge { .. })));
    gpu.check().unwrap();
}

#[test]
fn shapes_do_not_overflow() {
    let huge = Shape::from([usize::MAX, usize::MAX]);
    assert_eq!((huge.len(), huge.is_empty()), (usize::MAX, false));
    let empty = Shape::from([usize::MAX, usize::MAX, 0]);
    assert_eq!((empty.len(), empty.rows_cols()), (0, (usize::MAX, 0)));
    assert_eq!(plain().zeros(empty).unwrap().read().unwrap(), [0.0; 0]);
}

#[test]
fn buffers_are_no_larger_than_the_adapter_allows() {
    // Classes round up: just below the limit, the class would be above it.
    for poison in [false, true] {
        let gpu = open(config());
        let pool = Pool::new(poison, false, 10_000);
        assert!(pool.largest() <= 10_000 && pool.largest() > 9_000);
        drop(pool.take(&gpu.inner.device, pool.largest()));
        assert!(pool.statistics().allocated_bytes <= 10_000, "{:?}", pool.statistics());
        gpu.check().unwrap();
    }
}

#[test]
fn calls_that_disagree_with_the_shader_are_errors() {
    let gpu = open(config());
    let (x, y) = (gpu.zeros([4]).unwrap(), gpu.zeros([4]).unwrap());
    let params = [4u32, 0, 0].map(u32::to_ne_bytes).concat();
    let (inputs, outputs) = ([&x], [&y]);
    let good = || Call {
        op: "unary",
        entry: "forward",
        constants: &[("FUNCTION", 1.0)],
        inputs: &inputs,
        outputs: &outputs,
        params: &params,
        groups: [1, 1, 1],
    };
    gpu.dispatch(good()).unwrap();
    let max = gpu.capabilities().max_workgroups;
    let cases = [
        ("no such file", Call { op: "urnary", ..good() }),
        ("no entry point 'sideways'", Call { entry: "sideways", ..good() }),
        ("2 inputs and 1 outputs", Call { inputs: &[&x, &x], ..good() }),
        ("0 inputs and 2 outputs", Call { inputs: &[], outputs: &[&x, &y], ..good() }),
        ("8 bytes of parameters are given for 12", Call { params: &params[..8], ..good() }),
        ("workgroups", Call { groups: [0, 1, 1], ..good() }),
        ("workgroups", Call { groups: [1, max + 1, 1], ..good() }),
        ("forward: ", Call { constants: &[("FUNCTIONS", 1.0)], ..good() }),
    ];
    for (expected, call) in cases {
        let error = gpu.dispatch(call).unwrap_err().to_string();
        assert!(error.starts_with("shader ") && error.contains(expected), "{error}");
    }
    assert_eq!(gpu.counters().dispatches, 1);
    assert_eq!(y.read().unwrap(), [1.0; 4]);
}

#[test]
fn a_lost_device_never_answers_with_numbers() {
    for poison in [false, true] {
        let gpu = open(GpuConfig { poison, ..GpuConfig::default() });
        let x = gpu.tensor(&[1.0f32, 2.0], [2]).unwrap();
        assert_eq!(x.read().unwrap(), [1.0, 2.0]);
        gpu.destroy();
        let first = device_error(x.read());
        assert_eq!(device_error(x.read()), first, "the first failure sticks");
        // Recording goes on without a panic; nothing that comes of it can be read.
        if let Ok(y) = forward(&gpu, Unary::Exp, &x) {
            assert_eq!(device_error(y.read()), first);
        }
        if let Ok(zeros) = gpu.zeros([3]) {
            assert_eq!(device_error(zeros.read()), first);
        }
        for _ in 0..200 {
            let _ = forward(&gpu, Unary::Tanh, &x);
        }
        gpu.flush();
        assert_eq!(device_error(gpu.check()), first);
    }
}

#[test]
fn a_device_lost_with_work_on_it_never_answers_with_numbers() {
    let gpu = plain();
    let x = gpu.tensor(&count(1000), [1000]).unwrap();
    let y = affine(&gpu, &x, 2.0, 0.0);
    gpu.destroy();
    device_error(y.read());
    device_error(x.read());
}

#[test]
fn validation_errors_stick() {
    let gpu = plain();
    let x = gpu.tensor(&[1.0f32], [1]).unwrap();
    assert_eq!(x.item(), Ok(1.0));
    let _ = gpu.inner.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("absurd"),
        size: u64::MAX / 4,
        usage: wgpu::BufferUsages::STORAGE,
        mapped_at_creation: false,
    });
    let message = device_error(x.read());
    assert!(!message.contains('\n'), "one line: {message}");
    assert_eq!(device_error(gpu.tensor(&[1.0f32], [1]).and_then(|x| x.read())), message);
    // Another device of the process does not notice.
    gpus()[0].check().unwrap();
}

#[test]
fn adapters_are_chosen_by_index_or_name() {
    let adapters = available_adapters();
    assert!(!adapters.is_empty(), "no adapter; run `cargo xtask test`, which installs a software adapter");
    let choose = |wanted: &str| Gpu::new(GpuConfig { adapter: Some(wanted.into()), ..config() });
    for (i, adapter) in adapters.iter().enumerate() {
        assert_eq!(choose(&i.to_string()).unwrap().capabilities().name, adapter.name);
        let part: String = adapter.name.chars().skip(1).take(6).collect::<String>().to_uppercase();
        let found = choose(&part).unwrap().capabilities().name.to_uppercase();
        assert!(found.contains(&part), "{part} found {found}");
    }
    let names: Vec<&str> = adapters.iter().map(|adapter| adapter.name.as_str()).collect();
    for wanted in ["no such adapter", "123456789"] {
        let error = choose(wanted).unwrap_err();
        assert_eq!(error, Error::NoAdapter { wanted: wanted.into(), available: names.join(", ") });
        assert!(error.to_string().contains(wanted) && error.to_string().contains(names[0]));
    }
}

#[test]
fn the_plan_follows_the_adapter_unless_it_is_given() {
    for plan in [Plan::Cpu, Plan::Gpu] {
        assert_eq!(open(GpuConfig { plan: Some(plan), ..config() }).plan(), plan);
    }
    if std::env::var_os("SOFTURN_PLAN").is_none() {
        let gpu = plain();
        let software = gpu.capabilities().device_type == "Cpu";
        assert_eq!(gpu.plan(), if software { Plan::Cpu } else { Plan::Gpu });
    }
}

#[test]
fn threads_share_a_device() {
    for gpu in gpus() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for i in 0..25 {
                        let n = 1 + (37 * i + 11 * thread) % 150;
                        let x = gpu.tensor(&vec![thread as f32; n], [n]).unwrap();
                        let y = affine(gpu, &affine(gpu, &x, 2.0, i as f32), 1.0, 1.0);
                        drop(x);
                        assert_eq!(y.read().unwrap(), vec![(2 * thread + i + 1) as f32; n]);
                    }
                });
            }
        });
    }
}

#[test]
fn two_reads_may_wait_at_once() {
    let gpu = &gpus()[0];
    let (x, y) = (gpu.tensor(&[1.0f32], [1]).unwrap(), gpu.tensor(&[2.0f32], [1]).unwrap());
    let (mut a, mut b) = (Box::pin(x.read_async()), Box::pin(y.read_async()));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let (mut first, mut second) = (None, None);
    while first.is_none() || second.is_none() {
        if second.is_none()
            && let std::task::Poll::Ready(value) = b.as_mut().poll(&mut context)
        {
            second = Some(value.unwrap());
        }
        if first.is_none()
            && let std::task::Poll::Ready(value) = a.as_mut().poll(&mut context)
        {
            first = Some(value.unwrap());
        }
    }
    assert_eq!((first.unwrap(), second.unwrap()), (vec![1.0], vec![2.0]));
}

#[test]
fn a_device_lives_as_long_as_its_tensors() {
    let x = open(config()).tensor(&[3.0f32], [1]).unwrap();
    assert_eq!(affine(x.gpu(), &x, 1.0, 1.0).item(), Ok(4.0));
}

#[test]
fn profiling_measures_every_kernel() {
    let gpu = open(GpuConfig { profile: true, ..config() });
    if !gpu.capabilities().timestamps {
        println!("skipped: {} has no timestamps", gpu.capabilities());
        return;
    }
    let x = gpu.tensor(&count(100_000), [100_000]).unwrap();
    let mut y = x.clone();
    for _ in 0..130 {
        y = affine(&gpu, &y, 1.0, 0.0);
    }
    let dx = backward(&gpu, Unary::Square, &x, &y).unwrap();
    let times = gpu.kernel_times();
    let kernels: Vec<_> = times.iter().map(|time| (time.op, time.entry, time.calls)).collect();
    assert_eq!(kernels, [("unary", "backward_fours", 1), ("unary", "forward_fours", 130)]);
    assert!(times.iter().all(|time| time.seconds > 0.0 && time.seconds < 60.0), "{times:?}");
    assert_eq!(dx.read().unwrap()[3], 18.0);
    assert!(plain().kernel_times().is_empty());
}

#[test]
fn keys_are_splitmix64() {
    // The first outputs of SplitMix64 from state 0 (Steele, Lea and Flood 2014, as in Java's SplittableRandom).
    let children: Vec<u64> = Key::from_bits(0).split::<3>().map(Key::bits).to_vec();
    assert_eq!(children, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    let key = Key::new(42);
    assert_eq!(Key::from_bits(key.bits()), key);
    assert_eq!(key.split_forever().take(3).collect::<Vec<_>>(), key.split::<3>());
    assert_eq!(key.child(2), key.split::<5>()[2]);
    assert_eq!(Key::from_bits(0x0123_4567_89ab_cdef).words(), [0x89ab_cdef, 0x0123_4567]);
    // Neither the grandchildren of siblings nor those of neighbouring seeds meet.
    let mut seen = std::collections::HashSet::new();
    for seed in 0..20 {
        for child in Key::new(seed).split::<20>() {
            assert!(child.split::<20>().into_iter().all(|key| seen.insert(key)));
        }
    }
}

#[test]
fn capabilities_are_filled_in() {
    let gpu = &gpus()[0];
    let capabilities = gpu.capabilities();
    assert!(!capabilities.name.is_empty() && !capabilities.backend.is_empty());
    let subgroup = choose(adapters(), Some(&capabilities.name)).unwrap().get_info().subgroup_min_size;
    println!("adapter: {capabilities}, subgroups of {subgroup}");
    assert!(capabilities.max_workgroup_bytes >= 16 << 10 && capabilities.max_workgroup_invocations >= 256);
    assert!(capabilities.max_workgroups >= 65_535 && capabilities.max_binding_bytes >= 128 << 20);
    assert!(format!("{gpu:?}").contains(&capabilities.name));
}
