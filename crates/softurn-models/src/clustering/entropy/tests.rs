//! Tests: the known answers of toys, by value of the objective and end to end.

use std::f64::consts::LN_2;
use std::sync::OnceLock;

use ndarray::Array2;
use softurn_autodiff::Parameters;
use softurn_kernels::{Gpu, GpuConfig, Key};

use super::loss::Model;
use super::{GroupSizes, Loss, Params};
use crate::Result;
use crate::clustering::features::Scaling;
use crate::data::Dataset;
use crate::metrics::adjusted_rand_index;

fn gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::new(GpuConfig { poison: true, ..GpuConfig::default() }).unwrap())
}

/// The objective, on points of the plane that are not standardised, of linear models of two groups that differ by the logit `v · x`.
struct Landscape {
    model: Model,
    parameters: Parameters,
}

impl Landscape {
    fn new(points: &[[f64; 2]], gamma: f64) -> Result<Self> {
        let params = Params::new(2).loss(Loss::MutualInformation).sizes(GroupSizes::Uniform).gamma(gamma as f32);
        let at = |(i, j): (usize, usize)| points[i][j] as f32;
        let data = Dataset::table("plane", Array2::from_shape_fn((points.len(), 2), at)).unwrap();
        let mut parameters = Parameters::new(gpu());
        let model = Model::new(gpu(), &params.starts(1), &data, Scaling::none(2), &mut parameters, Key::new(0))?;
        Ok(Self { model, parameters })
    }

    fn at(&mut self, v: [f64; 2]) -> f64 {
        let weight = self.parameters.get("0.head.weight").unwrap().clone();
        self.parameters.set(&weight, &[v[0] as f32, 0.0, v[1] as f32, 0.0]).unwrap();
        self.model.score(&self.parameters, 0).unwrap().objective()
    }

    /// The lowest value along a direction, and the scale it is at: a grid of scales, then a search between neighbours.
    fn along(&mut self, degrees: f64) -> [f64; 2] {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let mut value = |scale: f64| self.at([scale * cos, scale * sin]);
        let grid: Vec<f64> = (0..24).map(|i| 0.02 * 1.45f64.powi(i)).collect();
        let values: Vec<f64> = grid.iter().map(|&scale| value(scale)).collect();
        let best = (0..grid.len()).min_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap();
        let [mut low, mut high] = [grid[best.saturating_sub(1)], grid[(best + 1).min(grid.len() - 1)]];
        for _ in 0..14 {
            let [a, b] = [low + 0.382 * (high - low), low + 0.618 * (high - low)];
            if value(a) < value(b) { high = b } else { low = a }
        }
        let scale = 0.5 * (low + high);
        [value(scale), scale]
    }
}

/// Two rows of points: k-means splits them into left and right, a small enough margin term into rows.
fn two_rows() -> Vec<[f64; 2]> {
    (0..42).flat_map(|i| [0.5, -0.5].map(|y| [-4.0 + 8.0 * f64::from(i) / 41.0, y])).collect()
}

#[test]
fn entropy_clustering_is_not_k_means() -> Result<()> {
    for (gamma, left_right, rows) in [
        (1e-1, -0.224895, 0.0),
        (1e-2, -0.471591, -0.176556),
        (1e-3, -0.590302, -0.553614),
        (1e-4, -0.645524, -0.666307),
        (1e-5, -0.674552, -0.688753),
    ] {
        let mut landscape = Landscape::new(&two_rows(), gamma)?;
        let [got_left_right, _] = landscape.along(0.0);
        let [got_rows, _] = landscape.along(90.0);
        let close = |got: f64, want: f64| (got - want).abs() < 2e-5;
        // Towards rows the best of the largest gamma is no weight at all; the grid starts at 0.02.
        assert!(close(got_left_right, left_right), "gamma {gamma}: {got_left_right} for {left_right}");
        assert!(
            close(got_rows, rows) || (gamma == 1e-1 && got_rows.abs() < 1e-4),
            "gamma {gamma}: {got_rows} for {rows}"
        );
        assert_eq!(got_rows < got_left_right, gamma < 5e-4, "gamma {gamma}");
    }
    let mut free = Landscape::new(&two_rows(), 0.0)?;
    for degrees in [0.0f64, 20.0, 70.0, 90.0] {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let got = free.at([1000.0 * cos, 1000.0 * sin]);
        assert!((got + LN_2).abs() < 1e-6, "{degrees} degrees: {got}");
    }
    Ok(())
}

/// The optimum's margin rises as the margin term falls; below a gamma of 1e-4 the objective's differences between directions
/// drown in f32.
#[test]
fn the_margin_grows_as_its_term_shrinks() -> Result<()> {
    let half = [[1.0, 0.3], [1.5, -2.0], [2.0, 1.0]];
    let points: Vec<[f64; 2]> = half.iter().flat_map(|p| [*p, [-p[0], -p[1]]]).collect();
    let mut before = 0.0;
    for (gamma, want) in [(1e-1, 0.947), (1e-2, 0.983), (1e-3, 1.007), (1e-4, 1.019)] {
        let mut landscape = Landscape::new(&points, gamma)?;
        let mut best = [f64::INFINITY, 0.0];
        for step in 0..36 {
            let degrees = -90.0 + 5.0 * f64::from(step);
            let [value, _] = landscape.along(degrees);
            if value < best[0] {
                best = [value, degrees];
            }
        }
        let [mut low, mut high] = [best[1] - 5.0, best[1] + 5.0];
        for _ in 0..12 {
            let [a, b] = [low + 0.382 * (high - low), low + 0.618 * (high - low)];
            if landscape.along(a)[0] < landscape.along(b)[0] { high = b } else { low = a }
        }
        let (sin, cos) = (0.5 * (low + high)).to_radians().sin_cos();
        let margin = half.iter().map(|[x, y]| (x * cos + y * sin).abs()).fold(f64::INFINITY, f64::min);
        assert!((margin - want).abs() < 5e-3, "gamma {gamma}: margin {margin} for {want}");
        assert!(margin > before, "gamma {gamma}: margin {margin} after {before}");
        before = margin;
    }
    Ok(())
}

/// Three unit Gaussians, and which one each point is from.
fn three_groups(sizes: [usize; 3], seed: u64) -> (Dataset, Vec<u32>) {
    let centres = [[0.0f32, 4.0], [3.5, -2.0], [-3.5, -2.0]];
    let truth: Vec<u32> = (0..3).flat_map(|group| vec![group as u32; sizes[group]]).collect();
    let noise = softurn_kernels::ops::random::normal(gpu(), [truth.len(), 2], Key::new(1000 + seed)).unwrap();
    let noise = noise.read().unwrap();
    let at = |(i, j): (usize, usize)| centres[truth[i] as usize][j] + noise[2 * i + j];
    (Dataset::table("three groups", Array2::from_shape_fn((truth.len(), 2), at)).unwrap(), truth)
}

fn index(params: Params, sizes: [usize; 3], seed: u64) -> f64 {
    let (data, truth) = three_groups(sizes, seed);
    let fitted = params.check().unwrap().fit(gpu(), &data, Key::new(seed)).unwrap();
    adjusted_rand_index(fitted.labels(), &truth).unwrap()
}

const UNEVEN: [usize; 3] = [500, 80, 80];
const EVEN: [usize; 3] = [200, 200, 200];

#[test]
#[ignore = "a report: all losses and weights on the toys of even and uneven groups, five seeds each"]
fn toys_report() {
    for sizes in [UNEVEN, EVEN] {
        for (name, kind) in [("uniform", GroupSizes::Uniform), ("learned", GroupSizes::Learned)] {
            for loss in [Loss::SelfLabel, Loss::Collision, Loss::MutualInformation] {
                for lambda in [1.0, 10.0, 100.0] {
                    let params = || Params::new(3).loss(loss).sizes(kind.clone()).lambda(lambda);
                    let began = std::time::Instant::now();
                    let found: Vec<String> =
                        (0..5).map(|seed| format!("{:.2}", index(params(), sizes, seed))).collect();
                    println!(
                        "{sizes:?} {name} {loss:?} {lambda}: {} ({:.1} s)",
                        found.join(" "),
                        began.elapsed().as_secs_f64()
                    );
                }
            }
        }
    }
}
