//! The studies that `cargo xtask verify` knows.

use crate::figures::{CLUSTERING, CODES, DENOISE, DISENTANGLE, LABELS, REPRESENT, TOY};
use crate::study::{Cell, Study};

pub fn studies() -> Vec<Study> {
    vec![
        digits(),
        imbalance(),
        imbalance_mnist(),
        datasets(),
        disentangle(),
        disentangle_full(),
        sparse_toy(),
        codes(),
        labels(),
        lines(),
        represent(),
        denoise(),
        machines(),
        frameworks(),
    ]
}

/// The three priors and both baselines over five seeds.
pub fn digits() -> Study {
    let rows: [(&str, &[&str]); 5] = [
        ("hypergeometric", &["--prior", "hypergeometric"]),
        ("kmeans", &["--method", "kmeans"]),
        ("gmm", &["--method", "gmm"]),
        ("categorical", &["--prior", "categorical"]),
        ("uniform", &["--prior", "uniform"]),
    ];
    let cell = |&(row, own): &(&str, &[&str]), seed| Cell::new(row, seed, &["--data", "digits", "--k", "10"], own);
    Study {
        name: "digits",
        command: "cluster",
        columns: CLUSTERING,
        about: "1,797 handwritten digits: three priors, k-means and GMM, seeds 0 to 4",
        cells: rows.iter().flat_map(|row| (0..5).map(move |seed| cell(row, seed))).collect(),
        pairs: Vec::new(),
    }
}

/// The priors on digits of which some classes are kept in part, over ten seeds.
pub fn imbalance() -> Study {
    const PRIORS: [&str; 4] = ["hypergeometric", "exchangeable", "categorical", "uniform"];
    let keep = |share: &str| format!("1,1,1,1,1,{share},{share},{share},{share},{share}");
    let sets = [
        ("5-9 at 1", keep("1")),
        ("5-9 at 0.5", keep("0.5")),
        ("5-9 at 0.25", keep("0.25")),
        ("1 to 0.1", "1,0.9,0.8,0.7,0.6,0.5,0.4,0.3,0.2,0.1".to_owned()),
    ];
    let (mut cells, mut pairs) = (Vec::new(), Vec::new());
    for (set, keep) in &sets {
        let row = |name: &str| format!("{set}, {name}");
        for seed in 0..10 {
            let mut cell = |name: &str, own: &[&str]| {
                cells.push(Cell::new(&row(name), seed, &["--data", "digits", "--k", "10", "--keep", keep], own));
            };
            for prior in PRIORS {
                cell(prior, &["--prior", prior]);
            }
            if seed < 5 {
                cell("hypergeometric joined", &["--start", "joined"]);
                cell("hypergeometric k-means", &["--start", "kmeans"]);
            }
            cell("kmeans", &["--method", "kmeans"]);
            cell("gmm", &["--method", "gmm"]);
        }
        pairs.extend(PRIORS[1..].iter().map(|other| [row(PRIORS[0]), row(other)]));
        pairs.push([row(PRIORS[0]), row("hypergeometric joined")]);
        pairs.push([row(PRIORS[0]), row("hypergeometric k-means")]);
    }
    // Seed by seed, so that a study that is not finished compares what it has.
    cells.sort_by_key(|cell| cell.seed);
    Study {
        name: "imbalance",
        command: "cluster",
        columns: CLUSTERING,
        about: "digits with classes kept in part: priors, k-means and GMM, seeds 0 to 9, starts, seeds 0 to 4",
        cells,
        pairs,
    }
}

/// Stands for the folder of data sets that are not in the repository.
pub const DATA: &str = "$SOFTURN_DATA";

/// `--data` and `--labels` of a set of images in that folder.
fn idx(set: &str) -> Vec<String> {
    let file = |kind| format!("{DATA}/{set}/train-{kind}-ubyte.gz");
    vec!["--data".to_owned(), file("images-idx3"), "--labels".to_owned(), file("labels-idx1")]
}

/// The priors on images of MNIST of which half of the classes are kept in part.
fn imbalance_mnist() -> Study {
    let methods: [(&str, &[&str]); 5] = [
        ("hypergeometric", &[]),
        ("categorical", &["--prior", "categorical"]),
        ("uniform", &["--prior", "uniform"]),
        ("kmeans", &["--method", "kmeans"]),
        ("gmm", &["--method", "gmm"]),
    ];
    let data = idx("mnist");
    let keep = ["--rows", "10000", "--k", "10", "--keep", "1,1,1,1,1,0.25,0.25,0.25,0.25,0.25"];
    let common: Vec<&str> = data.iter().map(String::as_str).chain(keep).collect();
    let cells = (0..5).flat_map(|seed| methods.map(|(name, own)| Cell::new(name, seed, &common, own)));
    Study {
        name: "imbalance-mnist",
        command: "cluster",
        columns: CLUSTERING,
        about: "the first 10,000 images of MNIST, classes 5 to 9 kept at 0.25: priors, k-means and GMM, seeds 0 to 4; \
                SOFTURN_DATA as in datasets",
        cells: cells.collect(),
        pairs: methods[1..3].iter().map(|(other, _)| [methods[0].0, other].map(str::to_owned)).collect(),
    }
}

/// All methods with their defaults on data sets of digits, garments, letters, land and cells.
pub fn datasets() -> Study {
    let npz = |file: &str, array: &str| {
        let file = format!("{DATA}/{file}.npz");
        vec!["--data".to_owned(), format!("{file}:{array}"), "--labels".to_owned(), format!("{file}:y")]
    };
    let first = |set: &str| [idx(set), ["--rows", "10000"].map(str::to_owned).to_vec()].concat();
    // Principal components are coordinates of one space.
    let pbmc = [npz("pbmc68k_reduced/pbmc68k_reduced", "pca50"), ["--kind", "embedding"].map(str::to_owned).to_vec()];
    // The quick ones first.
    let sets: [(&str, &str, Vec<String>); 9] = [
        ("pbmc700", "10", pbmc.concat()),
        ("digits", "10", vec!["--data".to_owned(), "digits".to_owned()]),
        ("mfeat", "10", npz("mfeat/mfeat", "fac")),
        ("optdigits", "10", idx("optdigits")),
        ("satimage", "6", npz("satimage/satimage", "x")),
        ("usps", "10", idx("usps")),
        ("letter", "26", npz("letter/letter", "x")),
        ("mnist-10k", "10", first("mnist")),
        ("fashion-10k", "10", first("fashion-mnist")),
    ];
    let methods: [(&str, &[&str]); 8] = [
        ("variational", &[]),
        ("partition", &["--method", "partition", "--weights", "learned"]),
        ("entropy", &["--method", "entropy"]),
        ("entropy linear", &["--method", "entropy", "--hidden", "0"]),
        ("idec", &["--method", "idec"]),
        ("dec", &["--method", "dec"]),
        ("gmm", &["--method", "gmm"]),
        ("kmeans", &["--method", "kmeans"]),
    ];
    let mut cells = Vec::new();
    for (set, k, data) in &sets {
        let common: Vec<&str> = data.iter().map(String::as_str).chain(["--k", k]).collect();
        for (method, own) in methods {
            cells.extend((0..5).map(|seed| Cell::new(&format!("{set}, {method}"), seed, &common, own)));
        }
    }
    // The default and the baselines of all seeds first, then the others seed by seed.
    let first = |row: &str| ["variational", "kmeans", "gmm"].iter().any(|name| row.ends_with(name));
    cells.sort_by_key(|cell| (!first(&cell.row), cell.seed));
    Study {
        name: "datasets",
        command: "cluster",
        columns: CLUSTERING,
        about: "all methods with their defaults on nine data sets, seeds 0 to 4; SOFTURN_DATA names the folder of those that are \
                not in the repository",
        cells,
        pairs: Vec::new(),
    }
}

/// The models of pairs, the one that is measured first.
const PAIR_MODELS: [&str; 4] = ["hypergeometric", "ada", "partition", "label"];

/// Models of pairs on LPC sprites of half their size: the hypergeometric one and AdaVAE over three seeds, one run of the others.
fn disentangle() -> Study {
    let data = lpc();
    let (mut cells, mut pairs) = (Vec::new(), Vec::new());
    for shared in ["1", "3"] {
        let row = |model: &str| format!("{shared} of 5, {model}");
        let small = ["--reduce", "2", "--steps", "1500", "--learning-rate", "0.001", "--shared", shared];
        let common: Vec<&str> = data.iter().map(String::as_str).chain(small).collect();
        for (model, seeds) in PAIR_MODELS.into_iter().zip([3, 3, 1, 1]) {
            cells.extend((0..seeds).map(|seed| Cell::new(&row(model), seed, &common, &["--model", model])));
        }
        cells.push(Cell::new(&row("hypergeometric twice"), 0, &common, &["--counting", "twice"]));
        pairs.push(["hypergeometric", "ada"].map(row));
    }
    // What is compared seed by seed comes first.
    let alone = |row: &str| !pairs.iter().flatten().any(|pair| pair == row);
    cells.sort_by_key(|cell| (alone(&cell.row), cell.seed));
    Study {
        name: "disentangle",
        command: "disentangle",
        columns: DISENTANGLE,
        about: "LPC sprites of 32 × 32, pairs that share 1 or 3 of 5 factors, 1,500 steps: seeds 0 to 2, the partition model, \
                LabelVAE and the loss of AdaVAE's code seed 0; SOFTURN_DATA as in datasets",
        cells,
        pairs,
    }
}

/// All models of pairs on both grids in full size: for a GPU.
fn disentangle_full() -> Study {
    let sets = [("lpc", lpc()), ("sprites", ["--data", "sprites"].map(str::to_owned).to_vec())];
    let (mut cells, mut pairs) = (Vec::new(), Vec::new());
    for (set, data) in &sets {
        let common: Vec<&str> = data.iter().map(String::as_str).chain(["--steps", "10000"]).collect();
        for shared in ["0", "1", "2", "3", "4"] {
            let row = |model: &str| format!("{set}, {shared} of 5, {model}");
            for model in PAIR_MODELS {
                let own = ["--learning-rate", "0.001", "--shared", shared, "--model", model];
                cells.extend((0..3).map(|seed| Cell::new(&row(model), seed, &common, &own)));
            }
            pairs.extend(PAIR_MODELS[1..].iter().map(|other| [row(PAIR_MODELS[0]), row(other)]));
        }
    }
    cells.sort_by_key(|cell| cell.seed);
    Study {
        name: "disentangle-full",
        command: "disentangle",
        columns: DISENTANGLE,
        about: "LPC sprites and the grid of dSprites, drawn anew, of 64 × 64, pairs that share 0 to 4 of 5 factors, 10,000 steps, four \
                models, seeds 0 to 2: for a GPU; SOFTURN_DATA as in datasets",
        cells,
        pairs,
    }
}

/// Sums of 1 to 4 of 12 atoms: the trainers, and what happens without what keeps high counts alive.
fn sparse_toy() -> Study {
    let common = ["--data", "toy", "--size", "12", "--bound", "4"];
    let control = ["--trainer", "relaxed", "--boost", "0", "--atom-scale", "1"];
    let rows: [(&str, &[&str]); 4] = [
        ("marginal", &[]),
        ("straight-through", &["--trainer", "straight-through"]),
        ("relaxed", &["--trainer", "relaxed"]),
        ("relaxed, no boost, large atoms", &control),
    ];
    // Settings were chosen on seeds 0 to 2.
    let cells = (3..6).flat_map(|seed| rows.map(|(row, own)| Cell::new(row, seed, &common, own)));
    Study {
        name: "sparse-toy",
        command: "sparsify codes",
        columns: TOY,
        about: "rows made of 1 to 4 of 12 atoms, the size of the code and the bound given: three trainers and a control that \
                should fail, seeds 3 to 5",
        cells: cells.collect(),
        pairs: Vec::new(),
    }
}

/// Codes of digits with equally many active features: a number of its own for each row, one for all, and a penalty.
fn codes() -> Study {
    let mnist = [idx("mnist"), ["--rows", "10000", "--epochs", "20"].map(str::to_owned).to_vec()].concat();
    let digits = ["--data", "digits", "--epochs", "160"].map(str::to_owned).to_vec();
    // The bounds of codes that all have as many features active, and the penalty, are such that about as many are as of sparse codes.
    // Bound, deviation and rate of those with values were chosen on seed 0 of digits.
    let values = ["--magnitudes", "--noise", "0.03", "--learning-rate", "0.005", "--bound"];
    let sets = [
        ("digits", &digits, "mlp", "3", "2.5", [&values[..], &["3"]].concat(), "3"),
        ("digits", &digits, "linear", "12", "2", [&values[..], &["12"]].concat(), "10"),
        ("mnist-10k", &mnist, "mlp", "3", "6", vec!["--magnitudes", "--bound", "4"], "3"),
        ("mnist-10k", &mnist, "linear", "15", "4", vec!["--magnitudes", "--bound", "16"], "15"),
    ];
    let (mut cells, mut pairs) = (Vec::new(), Vec::new());
    for (set, data, decoder, bound, penalty, valued, valued_bound) in &sets {
        let common: Vec<&str> = data.iter().map(String::as_str).chain(["--size", "64", "--decoder", decoder]).collect();
        let row = |name: &str| format!("{set}, {decoder}, {name}");
        let rows: [(&str, &[&str]); 6] = [
            ("sparse", &["--bound", "16"]),
            ("top-L", &["--code", "topl", "--bound", bound]),
            ("sparse with values", valued),
            ("top-L with values", &["--code", "topl", "--magnitudes", "--bound", valued_bound]),
            ("L1", &["--code", "l1", "--noise", "0.3", "--penalty", penalty]),
            ("dense", &["--code", "dense"]),
        ];
        for (name, own) in rows {
            cells.extend((0..3).map(|seed| Cell::new(&row(name), seed, &common, own)));
        }
        pairs.push(["sparse", "top-L"].map(row));
        pairs.extend(["top-L with values", "L1"].map(|other| [row("sparse with values"), row(other)]));
    }
    // What is compared seed by seed comes first, and of that the quick set.
    let alone = |row: &str| !pairs.iter().flatten().any(|pair| pair == row);
    cells.sort_by_key(|cell| (alone(&cell.row), cell.row.starts_with("mnist"), cell.seed));
    Study {
        name: "codes",
        command: "sparsify codes",
        columns: CODES,
        about: "64 features of digits and of the first 10,000 images of MNIST, scored on a fifth of the rows that is held out: sparse codes \
                of at most 16, as many for all rows, L1, seeds 0 to 2; SOFTURN_DATA as in datasets",
        cells,
        pairs,
    }
}

/// Label sets of five collections with their own test rows: how many and then which ones, and independent sigmoids.
fn labels() -> Study {
    // Epochs and rate as held-out training rows chose them for sigmoids and the exact law, in this order.
    let sets: [(&str, [&str; 2], &str); 5] = [
        ("emotions", ["80", "80"], "0.001"),
        ("yeast", ["20", "20"], "0.001"),
        ("corel5k", ["10", "10"], "0.002"),
        ("bibtex", ["25", "15"], "0.002"),
        ("delicious", ["20", "20"], "0.002"),
    ];
    let (mut cells, mut pairs) = (Vec::new(), Vec::new());
    for (set, [alone, exact], rate) in sets {
        let file = format!("{DATA}/multilabel/{set}.npz");
        let row = |name: &str| format!("{set}, {name}");
        for seed in 0..3 {
            let mut cell = |name: &str, epochs: &str, own: &[&str]| {
                let common = ["--data", &file, "--epochs", epochs, "--learning-rate", rate];
                cells.push(Cell::new(&row(name), seed, &common, own));
            };
            cell("exact", exact, &["--loss", "exact"]);
            cell("sigmoids", alone, &["--loss", "sigmoids"]);
            cell("sigmoids, top-k", alone, &["--loss", "sigmoids", "--count", "fixed"]);
            if set != "delicious" || seed == 0 {
                cell("factored", exact, &["--loss", "factored"]);
            }
            if ["emotions", "yeast"].contains(&set) {
                cell("relaxed", exact, &["--loss", "relaxed"]);
            }
        }
        pairs.push(["exact", "sigmoids"].map(row));
    }
    let alone = |row: &str| !pairs.iter().flatten().any(|pair| pair == row);
    cells.sort_by_key(|cell| (alone(&cell.row), cell.seed));
    Study {
        name: "labels",
        command: "sparsify labels",
        columns: LABELS,
        about: "label sets of emotions, yeast, corel5k, bibtex and delicious, one hidden layer of 256, numbers of labels by a threshold \
                of held-out rows: the exact law of sets, independent sigmoids and two other losses, seeds 0 to 2; SOFTURN_DATA as in datasets",
        cells,
        pairs,
    }
}

/// `--data` and what goes with it of 200 images of each digit from 0 to 4, and of penguins; with the number of clusters.
fn labelled() -> [(&'static str, Vec<String>, &'static str); 2] {
    let file = |name: &str| format!("{DATA}/mnist/t10k-{name}-ubyte.gz");
    let images = ["--data".to_owned(), file("images-idx3"), "--labels".to_owned(), file("labels-idx1")];
    let classes = ["--classes", "0,1,2,3,4", "--per-class", "200"].map(str::to_owned);
    let penguins = ["--data", "penguins", "--scale", "maximum"].map(str::to_owned);
    [("penguins", penguins.to_vec(), "3"), ("mnist 0-4", [images, classes].concat(), "5")]
}

/// Settings of autoencoders: one number for each cluster, two hidden ones before it, and these two shared by all clusters.
const AUTOENCODERS: [(&str, &[&str]); 3] =
    [("TAE1", &[]), ("TAE2", &["--hidden", "2"]), ("PTAE", &["--hidden", "2", "--shared", "1"])];

/// Made clusters along lines: of ten starts that with the lowest objective.
fn lines() -> Study {
    let sets = [("parallel-line", "2"), ("orthogonal", "2"), ("triangle", "3"), ("lines-3d", "3")];
    let own = AUTOENCODERS.into_iter().chain([("tied TAE1", &["--tied"][..])]);
    let rows = sets.into_iter().flat_map(|set| own.clone().map(move |own| (set, own)));
    let cells = rows.flat_map(|((set, k), (name, own))| {
        let common = ["--data", set, "--k", k, "--starts", "10"];
        (0..5).map(move |seed| Cell::new(&format!("{set}, {name}"), seed, &common, own))
    });
    Study {
        name: "lines",
        command: "represent",
        columns: REPRESENT,
        about: "four sets of made clusters along lines: autoencoders for each cluster, ten starts, seeds 0 to 4",
        cells: cells.collect(),
        pairs: Vec::new(),
    }
}

/// Penguins and digits, with three rates, of which the objective may choose.
fn represent() -> Study {
    let mut cells = Vec::new();
    for (set, data, k) in labelled() {
        for (name, own) in AUTOENCODERS {
            for rate in ["0.001", "0.01", "0.1"] {
                let common: Vec<&str> = data.iter().map(String::as_str).chain(["--k", k, "--epochs", "200"]).collect();
                let own = [own, &["--learning-rate", rate]].concat();
                cells.extend((0..5).map(|seed| Cell::new(&format!("{set}, {name}, {rate}"), seed, &common, &own)));
            }
        }
    }
    Study {
        name: "represent",
        command: "represent",
        columns: REPRESENT,
        about: "penguins, and 200 images of each digit from 0 to 4: autoencoders for each cluster, three rates, seeds 0 to 4; \
                SOFTURN_DATA as in datasets",
        cells,
        pairs: Vec::new(),
    }
}

/// The same data with noise that is to be taken from them: of images more than what a number of an image loses.
fn denoise() -> Study {
    let mut cells = Vec::new();
    for ((set, data, k), noise) in labelled().into_iter().zip(["0.1", "0.5"]) {
        for (name, own) in AUTOENCODERS {
            let common = ["--k", k, "--epochs", "200", "--learning-rate", "0.01", "--denoise", noise];
            let common: Vec<&str> = data.iter().map(String::as_str).chain(common).collect();
            cells.extend((0..5).map(|seed| Cell::new(&format!("{set}, {name}"), seed, &common, own)));
        }
    }
    Study {
        name: "denoise",
        command: "represent",
        columns: DENOISE,
        about: "penguins with noise of 0.1 and digits from 0 to 4 with noise of 0.5: autoencoders for each cluster beside one for all rows, seeds 0 to 4; \
                SOFTURN_DATA as in datasets",
        cells,
        pairs: Vec::new(),
    }
}

/// Boltzmann machines on pairs of bits, from labels of which half are noise, and from nothing with a warm-up.
fn machines() -> Study {
    let common = ["--data", "bit-pairs", "--k", "2", "--framework", "rbm", "--latent", "6", "--batch", "50"];
    let mut cells = Vec::new();
    let warm_up = ["--warm-up", "100", "--epochs", "30", "--learning-rate", "0.03", "--starts", "6"];
    cells.extend((0..10).map(|seed| Cell::new("warm-up, best of six", seed, &common, &warm_up)));
    for rule in ["pseudo-likelihood", "reconstruction", "free-energy-difference", "free-energy"] {
        let start = ["--label-start", "0.5", "--deviation", "0.1"];
        let training = ["--epochs", "260", "--hold", "60", "--learning-rate", "0.015", "--rule", rule];
        let own = [&start[..], &training].concat();
        cells.extend((0..3).map(|seed| Cell::new(&format!("half-noised, {rule}"), seed, &common, &own)));
    }
    let neither = ["--deviation", "0.1", "--epochs", "260", "--learning-rate", "0.015"];
    cells.extend((0..3).map(|seed| Cell::new("neither, one start", seed, &common, &neither)));
    Study {
        name: "machines",
        command: "represent",
        columns: REPRESENT,
        about: "800 rows of six pairs of bits: Boltzmann machines with a warm-up, seeds 0 to 9, from labels of which half are noise, \
                four rules, and with neither, seeds 0 to 2",
        cells,
        pairs: Vec::new(),
    }
}

/// The other frameworks on images of digits.
fn frameworks() -> Study {
    let [_, (set, data, k)] = labelled();
    let own: [(&str, &[&str]); 5] = [
        ("vae", &["--framework", "vae"]),
        ("contrastive, positives of the cluster", &["--framework", "contrastive"]),
        (
            "contrastive, views",
            &["--framework", "contrastive", "--positives", "view", "--noise", "0.2", "--dropout", "0.5"],
        ),
        ("contrastive, positives of the class (labels)", &["--framework", "contrastive", "--positives", "class"]),
        // The pseudo-likelihood takes a pass for each of 784 bits.
        ("rbm", &["--framework", "rbm", "--rule", "reconstruction"]),
    ];
    let common: Vec<&str> = data.iter().map(String::as_str).chain(["--k", k]).collect();
    let cells = own.into_iter().flat_map(|(name, own)| {
        let common = &common;
        (0..5).map(move |seed| Cell::new(&format!("{set}, {name}"), seed, common, own)).collect::<Vec<_>>()
    });
    Study {
        name: "frameworks",
        command: "represent",
        columns: REPRESENT,
        about: "200 images of each digit from 0 to 4: variational autoencoders, contrastive encoders and Boltzmann machines for each cluster, \
                seeds 0 to 4; SOFTURN_DATA as in datasets",
        cells: cells.collect(),
        pairs: Vec::new(),
    }
}

/// `--data` and `--factors` of the LPC sprites.
fn lpc() -> Vec<String> {
    let file = |name: &str| format!("{DATA}/lpc-sprites/{name}-ubyte.gz");
    vec!["--data".to_owned(), file("images64-rgb-idx4"), "--factors".to_owned(), file("factors-idx2")]
}
