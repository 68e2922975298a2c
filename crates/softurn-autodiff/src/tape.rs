//! The tape: which variable came from which by which rule, in the order of recording; `backward` walks it once, back
//! to front: `∂L/∂x = Σ over uses of x of (∂y/∂x)ᵀ ∂L/∂y`.
//!
//! Kernels run when an operation is recorded; the tape only remembers what its backward needs. Rules return fresh
//! gradients; the tape alone adds them up.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use softurn_kernels::ops::binary::{self, Binary};
use softurn_kernels::{DataType, Gpu, Shape, Tensor};

use crate::{Error, Param, Parameters, Result, Var};

/// The backward of one operation, with whatever its forward saved.
pub trait Rule {
    /// Turns the gradients of the outputs into fresh gradients of the inputs.
    ///
    /// `dy` has one entry per output; `None` is an output that the loss does not depend on, and at least one is there.
    /// `wanted` has one entry per input and says whether its gradient will be used. The answer has one entry per input:
    /// `None` where it is not wanted. A gradient that is zero is returned as zeros: `None` for a wanted one is an error.
    ///
    /// # Errors
    /// Those of its kernels.
    fn backward(&self, gpu: &Gpu, dy: &[Option<Tensor>], wanted: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// One output of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VarId {
    node: usize,
    output: usize,
}

struct Node {
    op: &'static str,
    inputs: Vec<Option<VarId>>,
    outputs: Vec<Shape>,
    kind: Kind,
}

enum Kind {
    Leaf,
    Rule(Box<dyn Rule>),
    NoRule,
}

/// Records operations on [`Var`]s. One tape serves one backward pass.
///
/// ```
/// use softurn_autodiff::Tape;
/// use softurn_kernels::{Gpu, GpuConfig};
///
/// let gpu = Gpu::new(GpuConfig::default())?;
/// let tape = Tape::new(&gpu);
/// let x = tape.leaf(&gpu.tensor(&[3.0], [1])?)?;
/// let y = (x.square()? + 1.0)?;
/// let gradients = tape.backward(&y)?;
/// assert_eq!(gradients.of(&x).unwrap().item()?, 6.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Tape {
    gpu: Gpu,
    /// Tells this tape's variables and gradients from those of others.
    identity: Arc<()>,
    check_finite: bool,
    spent: Cell<bool>,
    nodes: RefCell<Vec<Node>>,
    parameters: RefCell<HashMap<Param, VarId>>,
}

impl Tape {
    /// An empty tape.
    pub fn new(gpu: &Gpu) -> Self {
        Self {
            gpu: gpu.clone(),
            identity: Arc::new(()),
            check_finite: false,
            spent: Cell::new(false),
            nodes: RefCell::default(),
            parameters: RefCell::default(),
        }
    }

    /// Whether `backward` reads every gradient and reports the first that is not finite, with the operation that made
    /// it. Slow: for finding out where a NaN comes from.
    pub fn check_finite(mut self, on: bool) -> Self {
        self.check_finite = on;
        self
    }

    /// The device.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// A variable that wants no gradient; operations on such variables alone save nothing.
    pub fn constant(&self, value: &Tensor) -> Var<'_> {
        Var::new(self, value.clone(), None)
    }

    /// A variable that wants a gradient, found afterwards by [`Gradients::of`].
    ///
    /// # Errors
    /// When the tensor does not hold floats, or the tape is used up.
    pub fn leaf(&self, value: &Tensor) -> Result<Var<'_>> {
        if value.data_type() != DataType::F32 {
            return Err(Error::NotDifferentiable(value.data_type()));
        }
        let id = self.push("leaf", Vec::new(), vec![value.shape().clone()], Kind::Leaf)?;
        Ok(Var::new(self, value.clone(), Some(id)))
    }

    /// The current value of a parameter, as a variable that wants a gradient, found afterwards by
    /// [`Gradients::param`]. The variable is a view: an optimizer step changes it, so steps come after `backward`.
    ///
    /// # Errors
    /// When the parameter belongs to another store, or the tape is used up.
    pub fn param(&self, parameters: &Parameters, param: &Param) -> Result<Var<'_>> {
        let value = parameters.tensor(param)?;
        let known = self.parameters.borrow().get(param).copied();
        let id = match known {
            Some(id) => id,
            None => {
                let id = self.push("parameter", Vec::new(), vec![param.shape().clone()], Kind::Leaf)?;
                self.parameters.borrow_mut().insert(param.clone(), id);
                id
            }
        };
        Ok(Var::new(self, value, Some(id)))
    }

    /// Records an operation that was computed already: `outputs` are its results, `rule` its backward. When no input
    /// wants a gradient, neither do the outputs, and the rule is dropped with all it saved.
    ///
    /// # Errors
    /// When an input lives on another tape, or this tape is used up.
    pub fn record<'t, const N: usize>(
        &'t self,
        op: &'static str,
        inputs: &[&Var<'t>],
        outputs: [Tensor; N],
        rule: impl Rule + 'static,
    ) -> Result<[Var<'t>; N]> {
        self.record_kind(op, inputs, outputs, || Kind::Rule(Box::new(rule)))
    }

    /// As [`Tape::record`], for an operation whose number of results is known only when it runs.
    ///
    /// # Errors
    /// As [`Tape::record`].
    pub fn record_all<'t>(
        &'t self,
        op: &'static str,
        inputs: &[&Var<'t>],
        outputs: Vec<Tensor>,
        rule: impl Rule + 'static,
    ) -> Result<Vec<Var<'t>>> {
        let shapes = outputs.iter().map(|value| value.shape().clone()).collect();
        let first = self.record_node(op, inputs, shapes, || Kind::Rule(Box::new(rule)))?;
        let with_id = |(output, value)| Var::new(self, value, first.map(|first| VarId { output, ..first }));
        Ok(outputs.into_iter().enumerate().map(with_id).collect())
    }

    /// Records an operation that has no gradient: a backward pass that reaches it is an error that names it.
    ///
    /// # Errors
    /// As [`Tape::record`].
    pub fn record_without_rule<'t, const N: usize>(
        &'t self,
        op: &'static str,
        inputs: &[&Var<'t>],
        outputs: [Tensor; N],
    ) -> Result<[Var<'t>; N]> {
        self.record_kind(op, inputs, outputs, || Kind::NoRule)
    }

    fn record_kind<'t, const N: usize>(
        &'t self,
        op: &'static str,
        inputs: &[&Var<'t>],
        outputs: [Tensor; N],
        kind: impl FnOnce() -> Kind,
    ) -> Result<[Var<'t>; N]> {
        let shapes = outputs.iter().map(|value| value.shape().clone()).collect();
        let first = self.record_node(op, inputs, shapes, kind)?;
        let mut output = 0..;
        Ok(outputs.map(|value| {
            let output = output.next().unwrap_or_default();
            Var::new(self, value, first.map(|first| VarId { output, ..first }))
        }))
    }

    /// The first result of a new node; none when no input wants a gradient.
    fn record_node(
        &self,
        op: &'static str,
        inputs: &[&Var<'_>],
        outputs: Vec<Shape>,
        kind: impl FnOnce() -> Kind,
    ) -> Result<Option<VarId>> {
        if let Some(input) = inputs.iter().position(|var| !std::ptr::eq(var.tape(), self)) {
            return Err(Error::OtherTape { op, input });
        }
        let ids: Vec<Option<VarId>> = inputs.iter().map(|var| var.id()).collect();
        if ids.iter().all(Option::is_none) {
            return Ok(None);
        }
        Ok(Some(self.push(op, ids, outputs, kind())?))
    }

    fn push(&self, op: &'static str, inputs: Vec<Option<VarId>>, outputs: Vec<Shape>, kind: Kind) -> Result<VarId> {
        if self.spent.get() {
            return Err(Error::SpentTape { op });
        }
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node { op, inputs, outputs, kind });
        Ok(VarId { node: nodes.len() - 1, output: 0 })
    }

    /// The operations recorded so far, in order, without leaves.
    pub fn ops(&self) -> Vec<&'static str> {
        let nodes = self.nodes.borrow();
        nodes.iter().filter(|node| !node.inputs.is_empty()).map(|node| node.op).collect()
    }

    /// The gradients of `loss`, a variable of one element, by every leaf and parameter it depends on. Uses the tape
    /// up: what it saved is dropped on the way.
    ///
    /// # Errors
    /// When the loss is not one number or is constant, an operation on the way has no gradient, or a kernel fails.
    pub fn backward(&self, loss: &Var<'_>) -> Result<Gradients> {
        if loss.value().len() != 1 {
            return Err(Error::NotScalar { shape: loss.shape().clone() });
        }
        let one = self.gpu.constant(1.0)?.reshape(loss.shape().clone())?;
        self.backward_with(loss, &one)
    }

    /// As [`Tape::backward`] for a variable of any shape, of which `dy` is the gradient.
    ///
    /// # Errors
    /// As [`Tape::backward`], and when `dy` has another shape than `y`.
    pub fn backward_with(&self, y: &Var<'_>, dy: &Tensor) -> Result<Gradients> {
        if !std::ptr::eq(y.tape(), self) {
            return Err(Error::OtherTape { op: "backward", input: 0 });
        }
        if dy.shape() != y.shape() {
            let expected = y.shape().clone();
            return Err(Error::GradientShape { op: "backward", input: 0, got: dy.shape().clone(), expected });
        }
        let start = y.id().ok_or(Error::Constant)?;
        if self.spent.replace(true) {
            return Err(Error::SpentTape { op: "backward" });
        }
        let mut nodes = self.nodes.take();
        // What was recorded after `y` cannot reach it.
        nodes.truncate(start.node + 1);
        let mut sums = Sums::new(&nodes);
        sums.add(&self.gpu, start, dy.clone())?;
        let mut gradients =
            Gradients { identity: self.identity.clone(), leaves: BTreeMap::new(), parameters: self.parameters.take() };
        while let Some(node) = nodes.pop() {
            let dy = sums.take(nodes.len());
            if dy.iter().all(Option::is_none) {
                continue;
            }
            let rule = match node.kind {
                Kind::Leaf => {
                    gradients.leaves.extend(dy.into_iter().flatten().map(|dy| (nodes.len(), dy)));
                    continue;
                }
                Kind::NoRule => return Err(Error::MissingRule { op: node.op }),
                Kind::Rule(rule) => rule,
            };
            let wanted: Vec<bool> = node.inputs.iter().map(Option::is_some).collect();
            let dx = rule.backward(&self.gpu, &dy, &wanted)?;
            if dx.len() != wanted.len() {
                return Err(Error::GradientCount { op: node.op, got: dx.len(), expected: wanted.len() });
            }
            for (input, (id, dx)) in node.inputs.iter().zip(dx).enumerate() {
                let Some(id) = id else { continue };
                let op = node.op;
                let dx = dx.ok_or(Error::MissingGradient { op, input })?;
                let expected = &nodes[id.node].outputs[id.output];
                if dx.shape() != expected {
                    let (got, expected) = (dx.shape().clone(), expected.clone());
                    return Err(Error::GradientShape { op, input, got, expected });
                }
                if self.check_finite {
                    require_finite(op, input, &dx)?;
                }
                sums.add(&self.gpu, *id, dx)?;
            }
        }
        Ok(gradients)
    }
}

fn require_finite(op: &'static str, input: usize, gradient: &Tensor) -> Result<()> {
    let values = gradient.read()?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(element) => Err(Error::NonFinite { op, input, element, value: values[element] }),
        None => Ok(()),
    }
}

/// The gradients of outputs whose nodes are still to come.
struct Sums(Vec<Vec<Option<Tensor>>>);

impl Sums {
    fn new(nodes: &[Node]) -> Self {
        Self(nodes.iter().map(|node| vec![None; node.outputs.len()]).collect())
    }

    fn add(&mut self, gpu: &Gpu, id: VarId, gradient: Tensor) -> Result<()> {
        let sum = &mut self.0[id.node][id.output];
        *sum = Some(match sum.take() {
            Some(sum) => binary::forward(gpu, Binary::Add, &sum, &gradient)?,
            None => gradient,
        });
        Ok(())
    }

    fn take(&mut self, node: usize) -> Vec<Option<Tensor>> {
        std::mem::take(&mut self.0[node])
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tape({})", self.ops().join(", "))
    }
}

/// What [`Tape::backward`] found: one gradient per leaf and parameter that the loss depends on.
#[derive(Clone)]
pub struct Gradients {
    identity: Arc<()>,
    /// By node, so that they are dropped in the same order in every run: the pool hands buffers out as they come back.
    leaves: BTreeMap<usize, Tensor>,
    parameters: HashMap<Param, VarId>,
}

impl Gradients {
    /// The gradient by a leaf or by a parameter's variable, in its shape. `None` when the loss does not depend on it,
    /// and for variables that are results of operations.
    pub fn of(&self, var: &Var<'_>) -> Option<&Tensor> {
        let id = var.id().filter(|_| Arc::ptr_eq(&self.identity, &var.tape().identity))?;
        self.leaves.get(&id.node)
    }

    /// The gradient by a parameter, in its shape. `None` when the loss does not depend on it.
    pub fn param(&self, param: &Param) -> Option<&Tensor> {
        self.leaves.get(&self.parameters.get(param)?.node)
    }
}

impl fmt::Debug for Gradients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> =
            self.parameters.keys().filter(|param| self.param(param).is_some()).map(Param::name).collect();
        names.sort_unstable();
        write!(f, "Gradients({} leaves, parameters {names:?})", self.leaves.len())
    }
}
