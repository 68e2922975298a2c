//! A layer whose rows go to heads, by number of heads at a fixed number of rows: `grouped_matmul` beside a product for each head.
//! Process CPU time of the forward and of the backward pass; one JSON object a line, in the form of `benches/peers/grouped.py`, which
//! times the same in PyTorch.

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;
use softurn_benches::measure;
use softurn_kernels::ops::grouped_matmul::{self, Groups};
use softurn_kernels::ops::{gather, matmul, random};
use softurn_kernels::{Gpu, GpuConfig, Key, Tensor};

/// Times products by groups.
#[derive(Parser)]
struct Args {
    /// rows x inputs x outputs, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "1024x64x64,1024x784x32")]
    shapes: Vec<String>,
    /// Numbers of heads that divide the rows, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "2,4,8,16,32,64")]
    heads: Vec<usize>,
    /// Measurements, of which the median is printed
    #[arg(long, default_value_t = 9)]
    repeats: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let gpu = Gpu::new(GpuConfig::default())?;
    for shape in &args.shapes {
        let sizes: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>().context("--shapes")?;
        let [rows, inputs, outputs]: [usize; 3] =
            sizes.try_into().map_err(|_| anyhow::anyhow!("--shapes: '{shape}' is not rows x inputs x outputs"))?;
        for &heads in &args.heads {
            let layer = Layer::new(&gpu, [rows, heads, inputs, outputs])?;
            let print = |form: &str, forward: f64, backward: Option<f64>| {
                let record = json!({"form": format!("softurn-{form}"), "rows": rows, "heads": heads, "inputs": inputs,
                    "outputs": outputs, "forward_cpu_ms": forward, "backward_cpu_ms": backward, "adapter": gpu.capabilities().name});
                println!("{record}");
            };
            let time =
                |call: &dyn Fn(u64) -> Result<Tensor>| Ok::<_, anyhow::Error>(measure(&gpu, call, args.repeats)?[0]);
            print("grouped", time(&|_| layer.grouped())?, Some(time(&|_| Ok(layer.grouped_backward()?[0].clone()))?));
            print(
                "separate",
                time(&|_| layer.separate())?,
                Some(time(&|_| Ok(layer.separate_backward()?[0].clone()))?),
            );
            print("groups and grouped", time(&|_| layer.sorted())?, None);
        }
    }
    Ok(())
}

/// Row `r` goes to head `r % heads`.
struct Layer {
    gpu: Gpu,
    sizes: [usize; 4],
    assignment: Tensor,
    groups: Groups,
    /// The rows of each head, and where each row stands among them all.
    index: Vec<Tensor>,
    inverse: Tensor,
    a: Tensor,
    /// The rows of `a` of each head.
    parts: Vec<Tensor>,
    b: Tensor,
    c: Tensor,
    dc: Tensor,
}

impl Layer {
    fn new(gpu: &Gpu, sizes @ [rows, heads, inputs, outputs]: [usize; 4]) -> Result<Self> {
        let each = rows / heads;
        // Views of a head's rows start at multiples of 64 elements.
        let fits = each * heads == rows && [inputs, outputs].iter().all(|cols| (each * cols).is_multiple_of(64));
        anyhow::ensure!(fits, "--heads: {heads} heads do not divide {rows} rows");
        let integers = |f: &dyn Fn(usize) -> usize| {
            let values: Vec<u32> = (0..rows).map(|row| f(row) as u32).collect();
            gpu.tensor(&values, [rows])
        };
        let assignment = integers(&|row| row % heads)?;
        let index = (0..heads).map(|head| {
            let rows: Vec<u32> = (0..each).map(|i| (i * heads + head) as u32).collect();
            gpu.tensor(&rows, [each])
        });
        let index = index.collect::<softurn_kernels::Result<Vec<_>>>()?;
        let a = random::normal(gpu, [rows, inputs], Key::new(1))?;
        let mut layer = Self {
            gpu: gpu.clone(),
            sizes,
            groups: Groups::new(gpu, &assignment, heads)?,
            assignment,
            inverse: integers(&|row| row % heads * each + row / heads)?,
            parts: index.iter().map(|rows| gather::forward(gpu, &a, rows)).collect::<softurn_kernels::Result<_>>()?,
            index,
            a,
            b: random::normal(gpu, [heads, inputs, outputs], Key::new(2))?,
            c: gpu.zeros([rows, outputs])?,
            dc: random::normal(gpu, [rows, outputs], Key::new(3))?,
        };
        layer.c = layer.grouped()?;
        layer.check()?;
        Ok(layer)
    }

    fn grouped(&self) -> Result<Tensor> {
        let options = grouped_matmul::Options::default();
        Ok(grouped_matmul::forward(&self.gpu, options, &self.groups, &self.a, &self.b, None)?)
    }

    fn grouped_backward(&self) -> Result<[Tensor; 2]> {
        let Self { gpu, groups, a, b, c, dc, .. } = self;
        let options = grouped_matmul::Options::default();
        let gradients = grouped_matmul::backward(gpu, options, groups, a, b, c, dc, [true; 2], false)?;
        Ok([gradients.a.context("the gradient of a")?, gradients.b.context("the gradient of b")?])
    }

    /// With groups made anew, as a batch needs them once for all its layers.
    fn sorted(&self) -> Result<Tensor> {
        let groups = Groups::new(&self.gpu, &self.assignment, self.sizes[1])?;
        let options = grouped_matmul::Options::default();
        Ok(grouped_matmul::forward(&self.gpu, options, &groups, &self.a, &self.b, None)?)
    }

    /// A product for each head, whose rows are gathered before and put in place after.
    fn separate(&self) -> Result<Tensor> {
        let [rows, heads, inputs, outputs] = self.sizes;
        let each = rows / heads;
        let sorted = self.gpu.zeros([rows, outputs])?;
        for (head, index) in self.index.iter().enumerate() {
            let a = gather::forward(&self.gpu, &self.a, index)?;
            let b = self.b.view(head * inputs * outputs, [inputs, outputs])?;
            let c = matmul::forward(&self.gpu, matmul::Options::default(), &a, &b, None)?;
            self.gpu.copy(&c, &sorted.view(head * each * outputs, [each, outputs])?)?;
        }
        Ok(gather::forward(&self.gpu, &sorted, &self.inverse)?)
    }

    fn separate_backward(&self) -> Result<[Tensor; 2]> {
        let [rows, heads, inputs, outputs] = self.sizes;
        let each = rows / heads;
        let (sorted, db) = (self.gpu.zeros([rows, inputs])?, self.gpu.zeros([heads, inputs, outputs])?);
        for (head, index) in self.index.iter().enumerate() {
            let dc = gather::forward(&self.gpu, &self.dc, index)?;
            let (a, b) = (&self.parts[head], self.b.view(head * inputs * outputs, [inputs, outputs])?);
            // Without an activation only the shape of the output is looked at.
            let options = matmul::Options::default();
            let gradients = matmul::backward(&self.gpu, options, a, &b, &dc, &dc, [true; 2], false)?;
            let (da, db_of_head) = (gradients.a.context("da")?, gradients.b.context("db")?);
            self.gpu.copy(&da, &sorted.view(head * each * inputs, [each, inputs])?)?;
            self.gpu.copy(&db_of_head, &db.view(head * inputs * outputs, [inputs, outputs])?)?;
        }
        Ok([gather::forward(&self.gpu, &sorted, &self.inverse)?, db])
    }

    /// Both ways must compute the same.
    fn check(&self) -> Result<()> {
        let [[da, db], [other_da, other_db]] = [self.grouped_backward()?, self.separate_backward()?];
        for (what, one, other) in [("c", &self.c, &self.separate()?), ("da", &da, &other_da), ("db", &db, &other_db)] {
            let pairs = one.read()?.into_iter().zip(other.read()?);
            let worst = pairs.map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
            anyhow::ensure!(worst < 1e-3, "{what}: the two ways differ by {worst}");
        }
        Ok(())
    }
}
