//! The losses against torch and enumeration, predictions of a model whose law is known, and that models learn, resume and refuse.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::Array2;
use softurn_autodiff::{Tape, Var, check_gradients};
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

use super::network::{Logits, exact, factored, losses, relaxed};
use super::{Count, FittedLabels, LabelModel, Loss, Params};
use crate::data::{LabelSets, MultiLabelData};
use crate::train::{Event, Session};
use crate::{Error, Result};

const ALL: [Loss; 4] = [Loss::Factored, Loss::Relaxed, Loss::Exact, Loss::Sigmoids];

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig::default()).unwrap_or_else(|error| panic!("{error}")))
}

const LABELS: [f32; 15] = [0.5, -1.0, 2.0, 0.25, -0.5, 1.5, 0.0, -0.75, 1.0, 0.125, -2.0, 1.0, 0.5, 0.75, 3.0];
const COUNTS: [f32; 12] = [0.5, -0.5, 1.0, 0.0, 1.0, 0.25, -1.0, 0.5, 0.0, 0.75, -0.25, -1.5];
const MASK: [f32; 15] = [0.9, 0.2, 0.7, 0.1, 0.1, 0.0, 0.25, 0.5, 0.0, 1.0, 0.1, 1.05, 0.3, 0.8, 0.75];
const TARGETS: [f32; 15] = [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0];
const SIZES: [usize; 3] = [2, 0, 3];

fn sets() -> LabelSets {
    LabelSets::new([vec![0, 2], vec![], vec![1, 3, 4]], 5).unwrap()
}

fn close(found: f32, wanted: f64, what: &str) {
    assert!((f64::from(found) - wanted).abs() <= 2e-6 * (1.0 + wanted.abs()), "{what}: {found} for {wanted}");
}

/// The wanted numbers are torch 2's in f64: `cross_entropy`, `-(y * log_softmax(a)).sum(1) / |S|`, `binary_cross_entropy` of the mask
/// clipped to 1e-6 and 1 - 1e-6, `binary_cross_entropy_with_logits`; and `log Σ_T Π_{k in T} e^{a_k} - Σ_{k in S} a_k` over all
/// subsets T of the size of S by itertools; sums over labels, means over the three rows.
#[test]
fn losses_are_those_of_torch() -> Result<()> {
    let gpu = gpu();
    let of = |loss: Loss, bound: usize| -> Result<Vec<f32>> {
        let tape = Tape::new(gpu);
        let counts: Vec<f32> = COUNTS.chunks(4).flat_map(|row| row[..=bound].to_vec()).collect();
        let logits = Logits {
            labels: tape.constant(&gpu.tensor(&LABELS, [3, 5])?),
            counts: match loss {
                Loss::Sigmoids => None,
                _ => Some(tape.constant(&gpu.tensor(&counts, [3, bound + 1])?)),
            },
        };
        let losses = losses(&Params::new(loss), 0, &logits, &sets(), &[0, 1, 2], Key::new(0))?;
        losses.iter().map(|(_, loss)| Ok(loss.item()?)).collect()
    };
    let (counts, factored, exact) = (1.499279388665986, 0.958660112853703, 0.6658711917792609);
    for (loss, sets) in [(Loss::Factored, factored), (Loss::Exact, exact)] {
        let found = of(loss, 3)?;
        close(found[0], sets + counts, "loss");
        close(found[1], sets, "sets");
        close(found[2], counts, "counts");
        // Three labels count as two, while the set keeps its size.
        let found = of(loss, 2)?;
        close(found[1], sets, "sets under a bound");
        close(found[2], 0.8962785295138797, "counts under a bound");
    }
    close(of(Loss::Sigmoids, 3)?[0], 2.9721001049077285, "sigmoids");
    let tape = Tape::new(gpu);
    let mask = tape.constant(&gpu.tensor(&MASK, [3, 5])?);
    close(relaxed(&mask, &gpu.tensor(&TARGETS, [3, 5])?)?.item()?, 5.555034645512571, "relaxed");
    Ok(())
}

#[test]
fn gradients_are_central_differences() -> Result<()> {
    let gpu = gpu();
    let (labels, counts) = (gpu.tensor(&LABELS, [3, 5])?, gpu.tensor(&COUNTS, [3, 4])?);
    let targets = gpu.tensor(&TARGETS, [3, 5])?;
    let check = |inputs: &[Tensor], f: &dyn for<'t> Fn(&[Var<'t>]) -> Result<Var<'t>>| {
        check_gradients(gpu, inputs, |_, inputs| Ok(f(inputs).unwrap_or_else(|error| panic!("{error}"))), 1e-3)
    };
    check(std::slice::from_ref(&labels), &|x| factored(&x[0], &targets, &SIZES))?;
    check(std::slice::from_ref(&labels), &|x| exact(&x[0], &targets, &SIZES))?;
    // Without the clipped rows: their logarithms have kinks.
    let some = gpu.tensor(&[0.3, 0.6, 0.5, 0.4, 0.7], [1, 5])?;
    check(&[some], &|x| relaxed(&x[0], &gpu.tensor(&TARGETS[..5], [1, 5])?))?;
    // The whole loss, at a temperature at which the logarithms are smooth over the stencil.
    check(&[labels, counts], &|x| relaxed(&x[0].nested_subset(&x[1], 0, [4.0; 2], Some(Key::new(3)))?, &targets))?;
    Ok(())
}

/// A model without hidden layers whose logits of three rows are those of the losses' test.
fn known(loss: Loss) -> Result<FittedLabels> {
    let ones = LabelSets::new([[0], [1], [2]], 3)?;
    let data = MultiLabelData::binary(ones, sets())?;
    let method = LabelModel::params(loss).hidden(&[]).epochs(1).validation(0.0).check()?;
    let mut fitted = method.fit(gpu(), &data, Key::new(0))?;
    let values = [
        ("labels.weight", &LABELS[..]),
        ("labels.bias", &[0.0; 5]),
        ("counts.weight", &COUNTS),
        ("counts.bias", &[0.0; 4]),
    ];
    for (name, values) in values {
        if let Some(param) = fitted.parameters.get(name).cloned() {
            fitted.parameters.set(&param, values)?;
        }
    }
    Ok(fitted)
}

fn three_rows() -> MultiLabelData {
    MultiLabelData::binary(LabelSets::new([[0], [1], [2]], 3).unwrap(), sets()).unwrap()
}

fn as_lists(sets: &LabelSets) -> Vec<Vec<u32>> {
    sets.rows().map(<[u32]>::to_vec).collect()
}

/// Probabilities by enumeration of all subsets of each size with itertools, weighted with the softmax of the counts.
#[test]
fn predictions_are_the_highest_labels_of_a_known_law() -> Result<()> {
    let mut fitted = known(Loss::Exact)?;
    let data = three_rows();
    let wanted = [
        [0.3491736941759941, 0.10200428482320846, 0.6083865336431562, 0.29413433210193696, 0.16016123902940865],
        [0.37901077241845227, 0.17746872818946188, 0.09622011366177191, 0.31047378127098224, 0.1941707873037219],
        [0.010676413357613681, 0.17566943963638204, 0.11581221731031677, 0.14339222880812377, 0.6090903602147152],
    ];
    for (found, wanted) in fitted.probabilities(&data)?.iter().zip(wanted.iter().flatten()) {
        close(*found, *wanted, "probability");
    }
    assert_eq!(fitted.scores(&data)?, Array2::from_shape_vec((3, 5), LABELS.to_vec()).expect("shape"));
    assert_eq!(as_lists(&fitted.predict(&data, Count::Argmax)?), [vec![0, 2], vec![], vec![4]]);
    // Means 1.51, 1.16, 1.05: the sums of the probabilities above.
    assert_eq!(as_lists(&fitted.predict(&data, Count::Mean)?), [vec![0, 2], vec![0], vec![4]]);
    // Five labels in three rows: two to each.
    assert_eq!(as_lists(&fitted.predict(&data, Count::Fixed)?), [vec![0, 2], vec![0, 3], vec![1, 4]]);
    assert!(fitted.predict(&data, Count::Threshold).unwrap_err().to_string().starts_with("count:"));
    fitted.threshold = Some(0.3);
    assert_eq!(as_lists(&fitted.predict(&data, Count::Threshold)?), [vec![0, 2], vec![0, 3], vec![4]]);
    fitted.choose_threshold(&data, &[0, 1, 2])?;
    let evaluation = fitted.evaluate(&data, Count::Threshold)?;
    assert!((evaluation.sets.micro_f1 - best_f1(&wanted)).abs() < 1e-12, "{evaluation:?}");
    assert_eq!(evaluation.precision_at.iter().map(|&(k, _)| k).collect::<Vec<_>>(), [1, 3, 5]);
    // First labels 2, 0, 4, the first and last right; of five all that are there.
    assert!((evaluation.precision_at[0].1 - 2.0 / 3.0).abs() < 1e-12);
    assert!((evaluation.precision_at[2].1 - 5.0 / 15.0).abs() < 1e-12);
    assert!(known(Loss::Sigmoids)?.predict(&data, Count::Argmax).unwrap_err().to_string().starts_with("count:"));
    // Relaxed probabilities sum to the mean count.
    for (row, mean) in known(Loss::Factored)?.probabilities(&data)?.outer_iter().zip(wanted) {
        close(row.sum(), mean.iter().sum(), "sum");
    }
    Ok(())
}

/// The best micro-F1 of all thresholds, by trying each probability.
fn best_f1(probabilities: &[[f64; 5]; 3]) -> f64 {
    let all = || probabilities.iter().flatten().zip(TARGETS);
    let f1 = |threshold: f64| {
        let predicted = all().filter(|(p, _)| **p >= threshold).count() as f64;
        let right = all().filter(|(p, is)| **p >= threshold && *is == 1.0).count() as f64;
        2.0 * right / (predicted + 5.0)
    };
    probabilities.iter().flatten().map(|&threshold| f1(threshold)).fold(0.0, f64::max)
}

/// Where every row has a label, so has every predicted set, and the threshold is the best one with that rule.
#[test]
fn the_data_decide_whether_a_row_may_have_no_labels() -> Result<()> {
    let data = MultiLabelData::binary(
        LabelSets::new([[0], [1], [2]], 3)?,
        LabelSets::new([vec![0, 2], vec![0], vec![1, 3, 4]], 5)?,
    )?;
    for loss in ALL {
        let params = LabelModel::params(loss).hidden(&[]).epochs(1).validation(0.0);
        let fit = |params: Params| -> Result<FittedLabels> {
            let mut fitted = params.check()?.fit(gpu(), &data, Key::new(0))?;
            for (name, values) in [("labels.weight", &LABELS[..]), ("labels.bias", &[0.0; 5])] {
                let param = fitted.parameters.get(name).cloned().expect("a layer");
                fitted.parameters.set(&param, values)?;
            }
            // More than any label has: relaxed ones pass 1.
            fitted.threshold = Some(2.0);
            Ok(fitted)
        };
        let mut fitted = fit(params.clone())?;
        assert_eq!(as_lists(&fitted.predict(&data, Count::Threshold)?), [[2], [0], [4]], "{loss:?}");
        let allowed = fit(params.zero_class(true))?.predict(&data, Count::Threshold)?;
        assert_eq!(as_lists(&allowed), [[0u32; 0]; 3], "{loss:?}");
        fitted.choose_threshold(&data, &[0, 1, 2])?;
        let best = fitted.evaluate(&data, Count::Threshold)?.sets.micro_f1;
        let mut others = Vec::new();
        for step in 1..=64 {
            fitted.threshold = Some(step as f32 / 64.0);
            others.push(fitted.evaluate(&data, Count::Threshold)?.sets.micro_f1);
        }
        assert!(others.iter().all(|&f1| f1 <= best), "{loss:?}: {best} of {others:?}");
        assert!(others.iter().any(|&f1| f1 < best), "{loss:?}: all thresholds are alike");
    }
    Ok(())
}

fn bits(fitted: &FittedLabels, data: &MultiLabelData) -> Result<Vec<u32>> {
    Ok(fitted.scores(data)?.iter().map(|score| score.to_bits()).collect())
}

#[test]
fn models_learn_and_are_saved() -> Result<()> {
    let gpu = gpu();
    let data = MultiLabelData::synthetic([700, 40, 12], 3, Key::new(5))?;
    let [train, test] = [data.select(&(0..600).collect::<Vec<_>>())?, data.select(&(600..700).collect::<Vec<_>>())?];
    let folder = tempfile::tempdir().expect("folder");
    for loss in ALL {
        let method = LabelModel::params(loss).hidden(&[32]).dropout(0.1).learning_rate(1e-2).epochs(12).check()?;
        let fitted = method.fit(gpu, &train, Key::new(1))?;
        let found = fitted.evaluate(&test, Count::Threshold)?;
        assert!(found.sets.micro_f1 > 0.85 && found.precision_at[0].1 > 0.9, "{loss:?}: {found:?}");
        if loss != Loss::Sigmoids {
            let found = fitted.evaluate(&test, Count::Argmax)?;
            assert!(found.sets.micro_f1 > 0.8 && found.sets.count_error < 0.5, "{loss:?}: {found:?}");
        }
        let path = folder.path().join("model.safetensors");
        fitted.save(&path)?;
        let loaded = FittedLabels::load(gpu, &path)?;
        assert_eq!(bits(&loaded, &test)?, bits(&fitted, &test)?);
        assert_eq!((loaded.threshold(), loaded.bound()), (fitted.threshold(), fitted.bound()));
    }
    Ok(())
}

#[test]
fn a_resumed_run_ends_with_the_same_bits() -> Result<()> {
    let gpu = gpu();
    // Dense numbers: they are standardised.
    let synthetic = MultiLabelData::synthetic([120, 20, 8], 3, Key::new(2))?;
    let rows: Vec<u32> = (0..120).collect();
    let numbers = Array2::from_shape_vec((120, 20), synthetic.expand(&rows)).expect("shape").mapv(|x| 5.0 * x - 3.0);
    let data = MultiLabelData::dense(numbers, synthetic.labels().clone())?;
    let folder = tempfile::tempdir().expect("folder");
    for loss in ALL {
        let method = LabelModel::params(loss).hidden(&[16, 16]).epochs(4).batch(32).check()?;
        let whole = method.fit(gpu, &data, Key::new(3))?;
        let stop = AtomicBool::new(false);
        let mut after_two = |event: &Event| {
            if matches!(event, Event::Epoch { epoch: 2, .. }) {
                stop.store(true, Ordering::Relaxed);
            }
        };
        let checkpoint = Some(folder.path().join("checkpoint.safetensors"));
        let mut session = Session {
            checkpoint: checkpoint.clone(),
            stop: Some(&stop),
            observer: Some(&mut after_two),
            ..Session::default()
        };
        let stopped = method.fit_with(gpu, &data, Key::new(3), &mut session);
        assert!(matches!(stopped, Err(Error::Interrupted { epoch: 2, .. })), "{loss:?}");
        let mut session = Session { checkpoint, resume: true, ..Session::default() };
        let resumed = method.fit_with(gpu, &data, Key::new(3), &mut session)?;
        assert_eq!(bits(&resumed, &data)?, bits(&whole, &data)?, "{loss:?}");
        assert_eq!(resumed.threshold(), whole.threshold());
        assert_ne!(bits(&method.fit(gpu, &data, Key::new(4))?, &data)?, bits(&whole, &data)?, "{loss:?}");
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_named() -> Result<()> {
    let says = |error: Error, words: &[&str]| {
        let message = error.to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}: {words:?}");
    };
    let params = || LabelModel::params(Loss::Exact).epochs(1);
    for (params, name) in [
        (params().bound(0), "bound"),
        (params().hidden(&[3, 0]), "hidden"),
        (params().batch(0), "batch"),
        (params().epochs(0), "epochs"),
        (params().dropout(1.0), "dropout"),
        (params().dropout(f32::NAN), "dropout"),
        (params().validation(-0.1), "validation"),
        (params().learning_rate(f32::INFINITY), "learning_rate"),
        (params().temperatures([0.5, 0.0]), "temperature"),
    ] {
        says(params.check().unwrap_err(), &[name]);
    }
    let data = three_rows();
    let fit = |params: Params| {
        let method = params.check().unwrap();
        let error = method.fit(gpu(), &data, Key::new(0)).unwrap_err();
        assert_eq!(method.check_data(&data).unwrap_err().to_string(), error.to_string());
        error
    };
    says(fit(params().bound(6)), &["bound", "6", "5 labels"]);
    says(fit(params().zero_class(false)), &["labels", "row 1", "zero class"]);
    says(fit(params().validation(0.9)), &["validation", "3 of 3 rows"]);
    let fitted = known(Loss::Exact)?;
    let other = MultiLabelData::dense(Array2::zeros((1, 4)), LabelSets::new([[0]], 5)?)?;
    says(fitted.predict(&other, Count::Argmax).unwrap_err(), &["data", "4 features", "3"]);
    let other = MultiLabelData::dense(Array2::zeros((1, 3)), LabelSets::new([[0]], 4)?)?;
    says(fitted.evaluate(&other, Count::Argmax).unwrap_err(), &["data", "4 labels", "5"]);
    Ok(())
}

/// Ten thousand labels go through by batches: nothing of rows times labels is kept but for a block.
#[test]
fn ten_thousand_labels() -> Result<()> {
    let data = MultiLabelData::synthetic([128, 100, 10_000], 2, Key::new(7))?;
    let fitted = LabelModel::params(Loss::Exact).hidden(&[16]).epochs(1).check()?.fit(gpu(), &data, Key::new(0))?;
    assert_eq!(fitted.bound(), 2);
    let found = fitted.evaluate(&data, Count::Threshold)?;
    assert!(found.sets.micro_f1 > 0.0 && found.sets.count_error < 2.0, "{found:?}");
    Ok(())
}
