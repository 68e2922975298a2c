//! Models of label sets beside independent sigmoids: `label_sets ARCHIVE.npz [EPOCHS [RATE [SEEDS]]]` fits each loss on the training rows of an
//! archive that `load_multilabel` reads, and prints scores on its test rows, one line for a seed and a way to choose the number of
//! labels. With `--validation` before the archive a fifth of the training rows is scored instead: for the choice of settings.

use softurn_kernels::{Gpu, GpuConfig, Key};
use softurn_models::data::load_multilabel;
use softurn_models::sparse::labels::{Count, LabelModel, Loss};
use softurn_models::train::batches::shuffled;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let validation = args.first().is_some_and(|arg| arg == "--validation");
    args.drain(..usize::from(validation));
    let path = args.first().ok_or("the path of an archive is missing")?;
    let number = |at: usize, default: f64| args.get(at).map_or(Ok(default), |arg| arg.parse());
    let (epochs, rate, seeds) = (number(1, 20.0)? as usize, number(2, 2e-3)? as f32, number(3, 3.0)? as u64);
    let gpu = Gpu::new(GpuConfig::default())?;
    let data = load_multilabel(path)?;
    for loss in [Loss::Sigmoids, Loss::Factored, Loss::Relaxed, Loss::Exact] {
        for seed in 0..seeds {
            let (train, test) = if validation {
                let rows = data.train.n_rows();
                let order: Vec<usize> =
                    shuffled(rows, rows, Key::new(77 + seed)).concat().iter().map(|&row| row as usize).collect();
                let (test, train) = order.split_at(rows / 5);
                (data.train.select(train)?, data.train.select(test)?)
            } else {
                (data.train.clone(), data.test.clone())
            };
            let method = LabelModel::params(loss).epochs(epochs).learning_rate(rate).check()?;
            let fitted = method.fit(&gpu, &train, Key::new(seed))?;
            for count in [Count::Argmax, Count::Mean, Count::Threshold, Count::Fixed] {
                // Independent sigmoids know no most probable number.
                if loss != Loss::Sigmoids || count != Count::Argmax {
                    println!("{loss:?} {count:?} seed {seed}: {:?}", fitted.evaluate(&test, count)?);
                }
            }
        }
    }
    Ok(())
}
