//! Nested subsets of a drawn number of elements. First on the host by the f64 twin: the shader follows.

pub mod cpu;

use super::{Noise, floats, integers, leading, same_shape, valid_temperature};
use crate::{Error, Gpu, Result, Shape, Tensor};

const OP: &str = "nested_subset";

/// How elements are drawn.
#[derive(Debug, Clone, Copy)]
pub struct Draw<'a> {
    /// What is added to the elements.
    pub noise: Noise<'a>,
    /// Of the choice.
    pub temperature: f32,
}

/// What the backward pass needs of a walk.
#[derive(Debug, Clone)]
pub struct Walk {
    x: Tensor,
    noise: Vec<f64>,
    bound: usize,
    temperature: f32,
}

/// The most elements that counts `[.., c]` of `least`, `least + 1` .. can ask for.
///
/// # Errors
/// When `least` is neither 0 nor 1, or the bound is 0.
pub fn bound(counts: &Tensor, least: usize) -> Result<usize> {
    if least > 1 {
        return Err(Error::argument(OP, "least", format!("is {least}, neither 0 nor 1")));
    }
    match (counts.shape().rows_cols().1 + least).saturating_sub(1) {
        0 => Err(Error::argument(OP, "counts", "hold no count above 0")),
        bound => Ok(bound),
    }
}

/// What all functions here refuse.
///
/// # Errors
/// When `x` does not hold floats, given noise has another shape, the temperature is not positive, or the bound is 0 or more
/// than a row has.
pub fn check(_gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize) -> Result<()> {
    floats(OP, &[("x", x)])?;
    draw.noise.check(OP, x)?;
    valid_temperature(OP, draw.temperature)?;
    let cols = x.shape().rows_cols().1;
    if bound == 0 || bound > cols {
        return Err(Error::argument(OP, "bound", format!("is {bound}, not from 1 to the {cols} elements of a row")));
    }
    Ok(())
}

fn wide(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.read()?.into_iter().map(f64::from).collect())
}

fn upload(gpu: &Gpu, x: &[f64], shape: Shape) -> Result<Tensor> {
    gpu.tensor(&x.iter().map(|&x| x as f32).collect::<Vec<_>>(), shape)
}

/// The steps alone.
pub fn walk(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize) -> Result<Walk> {
    check(gpu, x, draw, bound)?;
    let (rows, cols) = x.shape().rows_cols();
    let noise = match draw.noise {
        Noise::None => vec![0.0; x.len()],
        Noise::Key(key) => crate::ops::gumbel_softmax::cpu::noise(rows, cols, key),
        Noise::Given(noise) => wide(noise)?,
    };
    Ok(Walk { x: x.clone(), noise, bound, temperature: draw.temperature })
}

/// The relaxed mask.
pub fn forward(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, shares: &Tensor, least: usize) -> Result<(Tensor, Walk)> {
    let walk = walk(gpu, x, draw, bound(shares, least)?)?;
    let (cols, counts) = (x.shape().rows_cols().1, shares.shape().rows_cols().1);
    let y = cpu::forward(&wide(x)?, &walk.noise, cols, &wide(shares)?, counts, least, f64::from(draw.temperature));
    Ok((upload(gpu, &y, x.shape().clone())?, walk))
}

/// Gradients of the elements and of the shares.
pub fn backward(gpu: &Gpu, walk: &Walk, shares: &Tensor, least: usize, dy: &Tensor) -> Result<[Tensor; 2]> {
    let (cols, counts) = (walk.x.shape().rows_cols().1, shares.shape().rows_cols().1);
    same_shape(OP, "dy", dy, &walk.x)?;
    let t = f64::from(walk.temperature);
    let [dx, dshares] = cpu::backward(&wide(&walk.x)?, &walk.noise, cols, &wide(shares)?, counts, least, t, &wide(dy)?);
    Ok([upload(gpu, &dx, walk.x.shape().clone())?, upload(gpu, &dshares, shares.shape().clone())?])
}

/// Relaxed masks of 1 .. bound elements.
pub fn prefixes(gpu: &Gpu, x: &Tensor, draw: Draw<'_>, bound: usize) -> Result<(Tensor, Walk)> {
    let walk = walk(gpu, x, draw, bound)?;
    let cols = x.shape().rows_cols().1;
    let y = cpu::prefixes(&wide(x)?, &walk.noise, cols, bound, f64::from(draw.temperature));
    Ok((upload(gpu, &y, nested(leading(x.shape()), bound, cols))?, walk))
}

fn nested(rows: Shape, bound: usize, cols: usize) -> Shape {
    Shape::from([rows.dims(), &[bound, cols]].concat().as_slice())
}

/// The gradient of the elements from that of [`prefixes`].
pub fn prefixes_backward(gpu: &Gpu, walk: &Walk, dy: &Tensor) -> Result<Tensor> {
    let (x, t) = (&walk.x, f64::from(walk.temperature));
    let dx = cpu::prefixes_backward(&wide(x)?, &walk.noise, x.shape().rows_cols().1, walk.bound, t, &wide(dy)?);
    upload(gpu, &dx, x.shape().clone())
}

/// Rows of zeros with the shares of slots at the ordered elements.
pub fn hard(gpu: &Gpu, order: &Tensor, shares: &Tensor, least: usize, cols: usize) -> Result<Tensor> {
    integers(OP, &[("order", order)])?;
    let (rows, bound) = order.shape().rows_cols();
    let used = cpu::slot_weights(&wide(shares)?, shares.shape().rows_cols().1, least);
    let mut y = vec![0.0; rows * cols];
    for (i, &at) in order.read_u32()?.iter().enumerate() {
        if (at as usize) < cols {
            y[i / bound * cols + at as usize] = used[i];
        }
    }
    upload(gpu, &y, Shape::from([leading(order.shape()).dims(), &[cols]].concat().as_slice()))
}

/// The gradient of the shares of [`hard`].
pub fn hard_backward(gpu: &Gpu, order: &Tensor, shares: &Tensor, least: usize, dy: &Tensor) -> Result<Tensor> {
    let (cols, counts) = (dy.shape().rows_cols().1, shares.shape().rows_cols().1);
    let (dy, bound) = (wide(dy)?, order.shape().rows_cols().1);
    let of = |(i, &at): (usize, &u32)| if (at as usize) < cols { dy[i / bound * cols + at as usize] } else { 0.0 };
    let dused: Vec<f64> = order.read_u32()?.iter().enumerate().map(of).collect();
    upload(gpu, &cpu::sums_of_slots(&dused, counts, least), shares.shape().clone())
}

/// Rows of zeros with 1 .. bound ones at the ordered elements.
pub fn hard_prefixes(gpu: &Gpu, order: &Tensor, cols: usize) -> Result<Tensor> {
    let (rows, bound) = order.shape().rows_cols();
    let mut y = vec![0.0; rows * bound * cols];
    for (i, &at) in order.read_u32()?.iter().enumerate() {
        for m in i % bound..bound {
            if (at as usize) < cols {
                y[(i / bound * bound + m) * cols + at as usize] = 1.0;
            }
        }
    }
    upload(gpu, &y, nested(leading(order.shape()), bound, cols))
}
