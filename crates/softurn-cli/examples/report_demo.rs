//! Renders a made-up run to a folder (default `/tmp/report-demo`), for looking at the page without training.

use std::fs;
use std::path::PathBuf;

use softurn_cli::report::{
    self, Baseline, Curve, Dataset, Groups, Images, Phase, Projection, ReportData, Run, Scores, Truth, pca,
};

/// A small linear congruential generator: the demo needs noise, not quality.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

const CLASSES: usize = 10;
const LATENT: usize = 10;

fn main() -> std::io::Result<()> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "/tmp/report-demo".into()));
    fs::create_dir_all(&out)?;
    let images = demo();
    fs::write(out.join("report.html"), report::render(&images))?;
    let table = ReportData {
        title: "cells.npz in 10 groups".into(),
        images: None,
        truth: None,
        scores: Scores { silhouette: Some(0.213), ..Scores::default() },
        baselines: Vec::new(),
        ..images
    };
    fs::write(out.join("table.html"), report::render(&table))?;
    println!("{}", out.display());
    Ok(())
}

fn demo() -> ReportData {
    let mut noise = Noise(7);
    let (rows, size) = (1797, 8);
    let (mut labels, mut assignments, mut confidence) = (Vec::new(), Vec::new(), Vec::new());
    let (mut latent, mut pixels) = (Vec::new(), Vec::new());
    let group_of = [3u32, 8, 0, 5, 1, 9, 2, 7, 4, 6];
    let centres: Vec<f64> = (0..CLASSES * LATENT).map(|_| noise.normal() * 2.3).collect();
    for _ in 0..rows {
        let label = (noise.uniform().powf(1.15) * CLASSES as f64) as usize;
        let wrong = noise.uniform() < 0.08;
        let shown = if wrong { (label + 1 + (noise.uniform() * 8.0) as usize) % CLASSES } else { label };
        labels.push(label as u32);
        assignments.push(group_of[shown]);
        confidence.push(if wrong { 0.4 + 0.5 * noise.uniform() } else { 1.0 - 0.2 * noise.uniform().powi(3) } as f32);
        for axis in 0..LATENT {
            let blend = 0.75 * centres[shown * LATENT + axis] + 0.25 * centres[label * LATENT + axis];
            latent.push((blend + noise.normal()) as f32);
        }
        // Rings, bars and crosses of a width that depends on the class.
        for y in 0..size {
            for x in 0..size {
                let (u, v) = (x as f64 - 3.5, y as f64 - 3.5);
                let shape = match label % 4 {
                    0 => (u.hypot(v) - 2.2 - 0.1 * label as f64).abs(),
                    1 => (u + 0.3 * v).abs(),
                    2 => (u - v).abs().min((u + v).abs()),
                    _ => (v - 0.25 * label as f64 + 1.0).abs().min((u + 1.5).abs()),
                };
                let ink = (1.3 - shape + 0.18 * noise.normal()).clamp(0.0, 1.0);
                pixels.push(ink as f32);
            }
        }
    }
    let mut matching = vec![None; CLASSES];
    for (class, &group) in group_of.iter().enumerate() {
        matching[group as usize] = Some(class as u32);
    }
    let mut curve = |name: &str, epochs: usize, first: f64, last: f64| Curve {
        name: name.into(),
        points: (1..=epochs)
            .map(|epoch| {
                let decay = (-4.0 * (epoch - 1) as f64 / epochs as f64).exp();
                (epoch as f64, last + (first - last) * decay + 0.008 * (first - last).abs() * noise.normal())
            })
            .collect(),
    };
    let pretrain = vec![curve("loss", 50, 44.0, 19.4)];
    let losses = vec![
        curve("loss", 100, 31.0, 24.8),
        curve("reconstruction", 100, 24.0, 19.9),
        curve("latent KL", 100, 6.0, 4.4),
        curve("assignment", 100, 1.3, 0.52),
    ];
    let metrics = vec![curve("accuracy", 100, 0.74, 0.92), curve("NMI", 100, 0.69, 0.87), curve("ARI", 100, 0.6, 0.84)];
    let learned: Vec<f64> = (0..CLASSES)
        .map(|group| assignments.iter().filter(|&&a| a as usize == group).count() as f64 / rows as f64)
        .map(|share| share * (1.0 + 0.04 * noise.normal()))
        .collect();
    let projection: Projection = pca::project(&latent, LATENT, (0..latent.len() / LATENT).collect());
    let scores = |accuracy, nmi, ari, silhouette| Scores {
        accuracy: Some(accuracy),
        nmi: Some(nmi),
        ari: Some(ari),
        silhouette: Some(silhouette),
    };
    let config = [
        ("data", "\"digits\""),
        ("k", "10"),
        ("method", "\"variational\""),
        ("prior", "\"hypergeometric\""),
        ("hidden", "[256, 128]"),
        ("latent", "10"),
        ("epochs", "100"),
        ("pretrain_epochs", "50"),
        ("batch", "256"),
        ("learning_rate", "0.001"),
        ("temperature", "0.5"),
        ("seed", "0"),
    ];
    ReportData {
        title: "digits in 10 groups".into(),
        method: "variational, hypergeometric prior".into(),
        dataset: Dataset { name: "digits".into(), rows, cols: size * size },
        scores: scores(0.921, 0.874, 0.846, 0.213),
        baselines: vec![
            Baseline { name: "k-means".into(), scores: scores(0.792, 0.744, 0.669, 0.182), seconds: 0.41 },
            Baseline { name: "Gaussian mixture".into(), scores: scores(0.781, 0.751, 0.652, 0.171), seconds: 1.32 },
        ],
        latent: Some(projection),
        groups: Groups { k: CLASSES, assignments, confidence, learned: Some(learned) },
        truth: Some(Truth { labels, names: (0..CLASSES).map(|class| class.to_string()).collect(), matching }),
        images: Some(Images::from_values(size, size, 1, &pixels, 0.0, 1.0)),
        run: Run {
            adapter: "llvmpipe (LLVM 15.0.6, 256 bits)".into(),
            seed: 0,
            command: "softurn cluster --data digits --k 10 --prior hypergeometric --out runs/digits".into(),
            config: config.map(|(key, value)| (key.to_string(), value.to_string())).to_vec(),
            phases: vec![
                Phase {
                    name: "pretrain".into(),
                    epochs: 50,
                    losses: pretrain,
                    metrics: Vec::new(),
                    seconds: 21.4,
                    samples_per_second: 4198.0,
                },
                Phase {
                    name: "cluster".into(),
                    epochs: 100,
                    losses,
                    metrics,
                    seconds: 63.2,
                    samples_per_second: 2843.0,
                },
            ],
            seconds: 84.6,
            samples_per_second: 3186.0,
        },
    }
}
