//! Two principal components by subspace iteration on the covariance matrix.

/// Points in the plane of the two widest directions of a cloud.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// The rows of the data that are shown.
    pub rows: Vec<usize>,
    /// One point for each of them.
    pub points: Vec<[f32; 2]>,
    /// Share of the total variance along each direction.
    pub explained: [f64; 2],
    mean: Vec<f64>,
    basis: [Vec<f64>; 2],
}

impl Projection {
    /// The place of another row.
    pub fn place(&self, row: impl Iterator<Item = f32> + Clone) -> [f32; 2] {
        let along = |direction: &Vec<f64>| -> f64 {
            let less_mean = row.clone().zip(&self.mean).map(|(value, mean)| f64::from(value) - mean);
            less_mean.zip(direction).map(|(value, part)| value * part).sum()
        };
        [0, 1].map(|i| along(&self.basis[i]) as f32)
    }
}

/// Enough for a picture: directions whose variances differ by 2 % are told apart to 1e-3.
const ITERATIONS: usize = 200;

/// Projects `[rows, cols]`, which lie in order at these rows of the data. Deterministic, signs included.
///
/// # Panics
/// When `values` does not hold a whole number of rows.
pub fn project(values: &[f32], cols: usize, shown: Vec<usize>) -> Projection {
    assert!(cols > 0 && values.len().is_multiple_of(cols), "{} values in rows of {cols}", values.len());
    let rows = values.len() / cols;
    let mut mean = vec![0.0; cols];
    for row in values.chunks_exact(cols) {
        for (sum, &value) in mean.iter_mut().zip(row) {
            *sum += f64::from(value) / rows as f64;
        }
    }
    let mut covariance = vec![0.0; cols * cols];
    let mut centred = vec![0.0; cols];
    for row in values.chunks_exact(cols) {
        for column in 0..cols {
            centred[column] = f64::from(row[column]) - mean[column];
        }
        for i in 0..cols {
            for j in 0..=i {
                covariance[i * cols + j] += centred[i] * centred[j] / rows as f64;
            }
        }
    }
    for i in 0..cols {
        for j in i + 1..cols {
            covariance[i * cols + j] = covariance[j * cols + i];
        }
    }
    let total: f64 = (0..cols).map(|i| covariance[i * cols + i]).sum();
    let times = |vector: &[f64]| -> Vec<f64> { covariance.chunks_exact(cols).map(|row| dot(row, vector)).collect() };

    // Starting directions without symmetry, so that none is orthogonal to a principal one by accident.
    let mut basis = [0.618_034, 0.414_214]
        .map(|step: f64| -> Vec<f64> { (0..cols).map(|i| ((i + 1) as f64 * step).fract() - 0.45).collect() });
    orthonormalise(&mut basis);
    for _ in 0..ITERATIONS {
        basis = [times(&basis[0]), times(&basis[1])];
        orthonormalise(&mut basis);
    }
    for direction in &mut basis {
        let largest = direction.iter().copied().fold(0.0, |best: f64, x| if x.abs() > best.abs() { x } else { best });
        if largest < 0.0 {
            direction.iter_mut().for_each(|x| *x = -*x);
        }
    }
    let explained = [0, 1].map(|i| if total > 0.0 { dot(&basis[i], &times(&basis[i])) / total } else { 0.0 });
    let mut projection = Projection { rows: shown, points: Vec::new(), explained, mean, basis };
    projection.points = values.chunks_exact(cols).map(|row| projection.place(row.iter().copied())).collect();
    projection
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(x, y)| x * y).sum()
}

fn orthonormalise([first, second]: &mut [Vec<f64>; 2]) {
    let normalise = |vector: &mut Vec<f64>| {
        let norm = dot(vector, vector).sqrt();
        // A direction that has vanished stays zero: one column has no second component.
        let scale = if norm > 1e-150 { 1.0 / norm } else { 0.0 };
        vector.iter_mut().for_each(|x| *x *= scale);
    };
    normalise(first);
    let along = dot(first, second);
    second.iter_mut().zip(first.iter()).for_each(|(x, y)| *x -= along * y);
    if dot(second, second).sqrt() <= along.abs() * 1e-12 {
        second.fill(0.0);
    }
    normalise(second);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_two_wide_directions() {
        // An ellipse 4:1 in the plane of (3,4,0)/5 and (0,0,1), with its exact variances 8 and 1/2.
        let mut values = Vec::new();
        for step in 0..360 {
            let (sin, cos) = f64::from(step).to_radians().sin_cos();
            values.extend([2.4 * cos + 1.0, 3.2 * cos - 7.0, sin].map(|x| x as f32));
        }
        let projection = project(&values, 3, (0..360).collect());
        assert!((projection.explained[0] - 8.0 / 8.5).abs() < 1e-6, "{:?}", projection.explained);
        assert!((projection.explained[1] - 0.5 / 8.5).abs() < 1e-6, "{:?}", projection.explained);
        let [x, y] = projection.points[0];
        assert!((x - 4.0).abs() < 1e-4 && y.abs() < 1e-4, "{x} {y}");
        assert_eq!(projection.place([3.4, -3.8, 0.0].into_iter()), projection.points[0]);
    }

    #[test]
    fn one_column_and_no_rows() {
        let line = project(&[0.0, 1.0, 2.0], 1, vec![0, 1, 2]);
        assert_eq!(line.points, [[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]);
        assert!(project(&[], 4, Vec::new()).points.is_empty());
        assert_eq!(project(&[2.0, 2.0], 1, vec![0, 1]).explained, [0.0, 0.0]);
    }
}
