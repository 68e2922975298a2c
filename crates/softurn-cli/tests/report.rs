//! The report page: complete, self-contained, and safe with whatever names the data has.

use softurn::data::ImageShape;
use softurn::metrics::LabelSetScores;
use softurn::sparse;
use softurn::weak_supervision::{Evaluation, FactorScore};
use softurn_cli::report::codes::{self, Atom, CodesReport, Example, Pair, Toy};
use softurn_cli::report::disentangle::{self, DisentangleReport, Swap, Traversal};
use softurn_cli::report::labels::{self, Bin, Label, LabelsReport};
use softurn_cli::report::represent::{self, Embedding, Line, Parts, Plane, RepresentReport};
use softurn_cli::report::{
    Baseline, Curve, Dataset, Groups, Images, Phase, ReportData, Run, Scores, Truth, pca, render,
};
use softurn_cli::represent::{Model, Start};
use softurn_cli::sparsify::codes::ToyScores;

/// Six rows in three groups, of which the last is empty; hostile names throughout.
fn small() -> ReportData {
    let evil = "<script>alert('x')</script>\"&".to_string();
    let curve = |name: &str| Curve { name: name.into(), points: vec![(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)] };
    ReportData {
        title: evil.clone(),
        method: evil.clone(),
        dataset: Dataset { name: evil.clone(), rows: 6, cols: 4 },
        scores: Scores { accuracy: Some(0.8333), nmi: Some(0.6), ari: Some(0.5), silhouette: None },
        baselines: vec![Baseline { name: evil.clone(), scores: Scores::default(), seconds: 0.5 }],
        latent: Some(pca::project(&[0.0, 1.0, 2.0, 3.0, 1.0, 0.0, 5.0, 5.0, 6.0, 5.0, 5.0, 6.0], 2, (0..6).collect())),
        groups: Groups {
            k: 3,
            assignments: vec![0, 0, 0, 1, 1, 0],
            confidence: vec![0.9; 6],
            learned: Some(vec![0.5, 0.4, 0.1]),
        },
        truth: Some(Truth {
            labels: vec![1, 1, 1, 0, 0, 0],
            names: vec![evil.clone(), "b".into()],
            matching: vec![Some(1), Some(0), None],
        }),
        images: Some(Images { height: 2, width: 2, channels: 1, pixels: vec![7; 24] }),
        run: Run {
            adapter: evil.clone(),
            seed: 4,
            command: evil.clone(),
            config: vec![(evil.clone(), evil.clone())],
            phases: vec![Phase {
                name: evil.clone(),
                epochs: 3,
                losses: vec![curve(&evil), Curve { name: "empty".into(), points: vec![] }],
                metrics: vec![curve("NMI"), curve("ARI")],
                seconds: 1.0,
                samples_per_second: 18.0,
            }],
            seconds: 1.0,
            samples_per_second: 18.0,
        },
    }
}

fn check_page(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for outside in ["http://", "https://", "src=\"//", "@import", "<link", "url("] {
        assert!(!page.contains(outside), "{outside} reaches outside the page");
    }
    assert_eq!(page.matches("<script>").count(), 1, "only our own script");
    assert!(!page.contains("alert('x')"));
    for broken in ["NaN", "inf%", "inf\"", "undefined"] {
        assert!(!page.contains(broken), "{broken}");
    }
    for tag in ["section", "table", "svg", "figure", "article", "div", "tr", "td", "th", "p", "ul"] {
        let (open, plain) = (page.matches(&format!("<{tag} ")).count(), page.matches(&format!("<{tag}>")).count());
        assert_eq!(open + plain, page.matches(&format!("</{tag}>")).count(), "unbalanced <{tag}>");
    }
}

#[test]
fn the_page_holds_everything_and_needs_nothing() {
    let page = render(&small());
    check_page(&page);
    for part in ["scores", "sizes", "latent", "samples", "confusion", "training", "run"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    for text in [
        "0.833",
        "seed 4",
        "2 × 2 images",
        "data:image/png;base64,",
        "by true class",
        "No row belongs to this group.",
        "prefers-color-scheme: dark",
        "18 samples per second",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page, render(&small()), "the same data give the same page");
    // Row of class b: three rows in group 0, none in the empty group that stands last.
    let row = page.split("<tr><th>b</th>").nth(1).and_then(|rest| rest.split("</tr>").next()).expect("class b");
    assert!(row.contains(">3<") && row.contains("100 %"), "{row}");
}

#[test]
fn a_table_without_labels_leaves_out_what_it_lacks() {
    let page = render(&ReportData {
        truth: None,
        images: None,
        scores: Scores { silhouette: Some(0.25), ..Scores::default() },
        ..small()
    });
    check_page(&page);
    assert!(page.contains("6 rows of 4 columns") && page.contains("0.250"));
    for absent in ["id=\"confusion\"", "id=\"samples\"", "by true class", "Accuracy</dt>", "<th>True</th>"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn a_bare_run_and_many_groups_render() {
    let run = Run { phases: vec![], ..small().run };
    let bare = ReportData { latent: None, run, baselines: vec![], truth: None, images: None, ..small() };
    check_page(&render(&bare));
    let k = 300;
    let groups = Groups { k, assignments: vec![0, 5, 299, 4, 2, 2], confidence: vec![0.1; 6], learned: None };
    let page = render(&ReportData { groups, ..small() });
    check_page(&page);
}

/// A model of pairs with two latent dimensions and hostile names.
#[test]
fn the_page_of_a_model_of_pairs_is_whole_and_safe() {
    let ReportData { title: evil, run, .. } = small();
    let images = |count: usize| Images { height: 2, width: 2, channels: 1, pixels: vec![7; 4 * count] };
    let factor = |shared| FactorScore { name: evil.clone(), shared, independent: Some(-0.125) };
    let evaluation = Evaluation {
        pairs: vec![[0, 1], [2, 3]],
        shares: vec![0.5, f64::NAN],
        share: 0.5,
        true_share: 0.5,
        squared_error: 0.0,
        factors: vec![factor(Some(0.75)), factor(None)],
        shared_accuracy: None,
        independent_accuracy: Some(-0.125),
        disentanglement: 0.25,
        completeness: 0.25,
        informativeness: 0.25,
        mig: 0.25,
    };
    let traversal =
        |dimension| Traversal { dimension, deviation: dimension as f64, values: vec![-1.0, 1.0], images: images(2) };
    let page = disentangle::render(&DisentangleReport {
        data: format!("folder/{evil}"),
        images: 4,
        shared: [1, 2],
        model: evil.clone(),
        evaluation,
        traversals: vec![traversal(0), traversal(1)],
        swaps: vec![Swap { images: images(6), shared: vec![evil.clone()], share: 0.5 }],
        run,
    });
    check_page(&page);
    assert_eq!(page.matches("data:image/png;base64,").count(), 2 * 2 + 6);
    // The dimension that varies most stands first.
    assert!(page.find("dimension 1 at") < page.find("dimension 0 at"));
    for part in ["1 of 2 factors shared", "-0.125", "0.750", "id=\"training\"", "id=\"run\""] {
        assert!(page.contains(part), "{part}");
    }
}

/// Four held-out rows of two by two pixels with up to two of three features, the first of which stands for the upper pixels.
fn small_codes() -> CodesReport {
    let ReportData { title: evil, run, .. } = small();
    let atoms = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, -1.0, -1.0], [0.0; 4]].map(|values| values.to_vec());
    let atom = |(feature, values): (usize, &Vec<f32>)| Atom {
        feature,
        share: [0.75, 0.5, 0.0][feature],
        values: values.clone(),
    };
    CodesReport {
        data: format!("folder/{evil}"),
        rows: [6, 4],
        columns: 4,
        image: Some(ImageShape { height: 2, width: 2, channels: 1 }),
        size: 3,
        model: evil.clone(),
        valued: true,
        atoms_are: evil,
        evaluation: sparse::Evaluation {
            error: 0.625,
            active: 1.25,
            rows_by_active: vec![0, 3, 1],
            error_by_active: vec![None, Some(0.5), Some(1.0)],
        },
        kept: vec![(0, 2.0), (1, 0.75), (2, 0.625)],
        probes: Some([0.5, 0.875]),
        toy: None,
        atoms: atoms.iter().enumerate().map(atom).collect(),
        examples: vec![Example {
            row: 7,
            before: vec![1.0, 0.5, 0.0, 0.0],
            after: vec![1.0, 1.0, 0.0, f32::NAN],
            active: vec![(0, 1.5)],
            count: 2,
            atoms: vec![atoms[0].clone()],
        }],
        run,
    }
}

#[test]
fn the_page_of_codes_is_whole_and_safe() {
    let page = codes::render(&small_codes());
    check_page(&page);
    // Three atoms, a row, what comes back and its feature.
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 + 3);
    // Blue on white is what is added, red what is taken away: the second atom differs from the first in more than its place.
    let colours = |pixels: [[u8; 3]; 4]| {
        let pixels = pixels.concat();
        Images { height: 2, width: 2, channels: 3, pixels }.data_uri(0).expect("a picture")
    };
    let (nothing, added, taken) = ([250, 249, 246], [23, 64, 118], [178, 44, 36]);
    assert_eq!(page.matches(&colours([added, added, nothing, nothing])).count(), 2);
    assert_eq!(page.matches(&colours([nothing, nothing, taken, taken])).count(), 1);
    for text in
        ["0.625", "1.25", "accuracy on codes; 0.875", "1 of these are active in none", "feature 0: 1.5", "<td>…</td>"]
    {
        assert!(page.contains(text), "{text}");
    }

    // Without pictures, and with true codes.
    let scores = ToyScores {
        count_accuracy: 0.75,
        atom_f1: 0.5,
        exact_set: 0.25,
        atom_cosine: 0.125,
        counts: vec![0, 3, 1, 0],
        true_counts: vec![0, 2, 2, 0],
    };
    let pairs = vec![
        Pair { truth: vec![0.0, 1.0, 0.0, 0.0], learned: Some((vec![0.0, 1.0, 0.0, 0.5], 0.894)) },
        Pair { truth: vec![1.0, 0.0, 0.0, 0.0], learned: None },
    ];
    let toy = Some(Toy { scores, pairs });
    let page = codes::render(&CodesReport { image: None, probes: None, toy, ..small_codes() });
    check_page(&page);
    assert!(!page.contains("data:image") && !page.contains("Linear probe"));
    for text in ["0.750", "0.125", "0.894", "0: +1.0, 1: +1.0", "2: −1.0, 3: −1.0", "true", "id=\"toy\""] {
        assert!(page.contains(text), "{text}");
    }
    // Two atoms and a row, and what is learned of one atom and of the row.
    assert_eq!((page.matches("class=\"p0\"").count(), page.matches("class=\"p1\"").count()), (3, 2));
}

#[test]
fn the_page_of_label_sets_is_whole_and_safe() {
    let ReportData { title: evil, run, .. } = small();
    let sets = LabelSetScores { micro_f1: 0.6, macro_f1: 0.4, subset_accuracy: 0.2, count_error: 1.25 };
    let evaluation = sparse::labels::Evaluation { sets, precision_at: vec![(1, 0.9), (3, 0.5)] };
    let label = |name: &str, right, added, missing| Label { name: name.into(), right, added, missing };
    let page = labels::render(&LabelsReport {
        data: format!("folder/{evil}"),
        rows: [6, 4],
        columns: 2,
        n_labels: 3,
        model: evil.clone(),
        evaluations: vec![("threshold".into(), evaluation)],
        threshold: Some(0.25),
        best_precision: vec![(1, 1.0), (3, 0.75)],
        counts: [vec![1, 3], vec![0, 2, 2]],
        calibration: vec![
            Bin { pairs: 10, probability: 2.0, true_pairs: 3 },
            Bin::default(),
            Bin { pairs: 2, probability: 1.5, true_pairs: 1 },
        ],
        labels: vec![label(&evil, 2, 1, 0), label("never", 0, 0, 0), label("wrong", 0, 4, 5)],
        run,
    });
    check_page(&page);
    for part in ["scores", "ways", "counts", "precision", "calibration", "labels", "training", "run"] {
        assert!(page.contains(&format!("<section id=\"{part}\">")), "{part}");
    }
    // (|2 - 3| + |1.5 - 1|) / 12, and the most wrong label first, in which the one without predictions does not stand.
    for text in ["0.12, of which", "0.2000", "0.3000", "0.7500", "threshold is 0.250", "all 12 pairs", "0.800"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.find("<th>wrong</th><td>5</td><td>0</td><td>5</td><td>4</td>") < page.find("Most right"));
    assert!(!page.contains("<th>never</th>"));
}

/// Four rows of two by two pixels in three clusters, of which the last is empty, with hostile names and values that are no numbers.
#[test]
fn the_page_of_representations_is_whole_and_safe() {
    let ReportData { title: evil, run, .. } = small();
    let model = |denoising_error: Option<f64>| Model {
        name: evil.clone(),
        kmeans: denoising_error.is_some(),
        scores: Scores { ari: Some(0.25), ..Scores::default() },
        parameters: denoising_error.map(|_| 1234),
        denoising_error,
        seconds: 1.0,
        epoch_seconds: denoising_error.map(|_| 0.0125),
    };
    let start = |objective| Start { objective, ari: Some(0.25) };
    let pixels = vec![vec![1.0, 0.0, 0.0, -1.0]; 2];
    let parts = |cluster: Option<usize>| Parts {
        name: evil.clone(),
        cluster,
        centre: cluster.map(|_| vec![0.5; 4]),
        directions: if cluster.is_some() { pixels.clone() } else { Vec::new() },
        filters: pixels.clone(),
    };
    let embedding = |cluster, points: &[[f32; 2]]| Embedding {
        cluster,
        rows: (0..points.len()).collect(),
        points: points.to_vec(),
        axes: [evil.clone(), String::new()],
    };
    let report = RepresentReport {
        data: format!("folder/{evil}"),
        rows: 4,
        columns: 4,
        image: Some(ImageShape { height: 2, width: 2, channels: 1 }),
        k: 3,
        framework: evil.clone(),
        uses_labels: true,
        starts: vec![start(0.5), start(0.25), start(0.75)],
        models: vec![model(Some(0.0625)), model(None)],
        noise: Some((0.5, 0.125)),
        clusters: vec![0, 1, 1, 0],
        truth: Some(Truth {
            labels: vec![0, 1, 1, 1],
            names: vec![evil.clone(), "b".into()],
            matching: vec![Some(0), Some(1), None],
        }),
        plane: Plane {
            rows: (0..4).collect(),
            points: vec![[0.0, 1.0], [2.0, 3.0], [f32::NAN, 0.0], [1.0, f32::INFINITY]],
            axes: [evil.clone(), evil.clone()],
            lines: vec![
                Line { cluster: 0, from: [0.0, 0.0], to: [1.0, 1.0] },
                Line { cluster: 1, from: [f32::NAN, 0.0], to: [1.0, 1.0] },
            ],
        },
        embeddings: vec![embedding(0, &[[0.0, 0.0]]), embedding(1, &[[f32::NAN, 0.0]]), embedding(2, &[])],
        examples: vec![represent::Example {
            row: 3,
            cluster: 1,
            clean: vec![0.0; 4],
            noisy: vec![-0.5; 4],
            restored: vec![vec![f32::NAN; 4]],
        }],
        parts: vec![parts(None), parts(Some(0))],
        run,
    };
    let page = represent::render(&report);
    check_page(&page);
    // The row, with noise and restored; two shared filters; a mean, two directions and two filters of a cluster.
    assert_eq!(page.matches("data:image/png;base64,").count(), 3 + 2 + 1 + 2 + 2);
    // Lines and rows that have no place are left out, and so are clusters without rows that have one.
    assert_eq!(page.matches("class=\"segment over\"").count(), 1);
    assert!(page.contains("Cluster 0<span>2 rows</span>") && !page.contains("Cluster 1<span>"));
    for part in ["1,234", "12 ms", "0.0625", "has learned from the labels"] {
        assert!(page.contains(part), "{part}");
    }
    // The start with the lowest objective stands first.
    assert!(page.contains("<tbody>\n<tr><th>2</th><td>0.250000</td><td>0.250</td><td>kept</td></tr>"));

    // A table without labels: numbers by column, no pictures.
    let bare = RepresentReport { image: None, truth: None, uses_labels: false, noise: None, ..report };
    let page = represent::render(&bare);
    check_page(&page);
    assert!(!page.contains("data:image") && !page.contains("by true class") && page.contains("direction 1"));
    check_page(&represent::render(&RepresentReport { k: 1, starts: vec![], models: vec![], parts: vec![], ..bare }));
}
