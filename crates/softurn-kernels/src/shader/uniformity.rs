//! Barriers and subgroup operations must stand in uniform control flow, which neither wgpu nor naga checks.
//!
//! The rules are those of WGSL's section on uniformity, a little stricter: a variable varies everywhere if it varies
//! anywhere. Every list of what varies only grows, so that the walk over a function is repeated until nothing changes,
//! and whatever an earlier walk rejects the last one would reject as well.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use naga::{AddressSpace, Binding, Block, BuiltIn, Expression, Function, Handle, LocalVariable, Span, Statement};

use super::Module;
use crate::{Error, Result};

/// Why a value, or the set of invocations that get here, differs within a workgroup; `None` where it does not.
type Varies = Option<Rc<str>>;

/// How a block can be left.
#[derive(Clone, Copy, Default)]
struct Exits {
    breaks: bool,
    continues: bool,
    returns: bool,
}

/// A call as far as uniformity goes: the function, which arguments vary, which pointees vary, whether the flow does.
type Context = (Handle<Function>, u64, u64, bool);

/// What a call does to its caller.
#[derive(Clone)]
struct Summary {
    returned: Varies,
    pointees: Vec<Varies>,
}

/// What is known about one call of one function.
struct Frame<'a> {
    function: &'a Function,
    arguments: Vec<Varies>,
    /// For arguments that are pointers: what they point to.
    pointees: Vec<Varies>,
    locals: HashMap<Handle<LocalVariable>, Rc<str>>,
    calls: HashMap<Handle<Expression>, Varies>,
    returned: Varies,
    /// Of this walk; without it a chain of `let`s would take exponential time.
    values: HashMap<Handle<Expression>, Varies>,
    changed: bool,
}

/// The memory that a pointer points into.
enum Root {
    Local(Handle<LocalVariable>),
    Argument(usize),
    Global(Handle<naga::GlobalVariable>),
}

struct Walk<'a> {
    module: &'a Module,
    entry: &'a str,
    summaries: HashMap<Context, Summary>,
    barriers: BTreeSet<usize>,
}

/// Checks that every barrier, `workgroupUniformLoad` and subgroup operation that an entry point reaches stands in
/// uniform control flow, and counts them.
///
/// # Errors
/// Names the line of the first that does not, and the branch that is to blame.
pub(crate) fn check_barriers(module: &Module, entry: &str) -> Result<usize> {
    let point = module.naga.entry_points.iter().find(|point| point.name == entry).ok_or_else(|| Error::Shader {
        shader: module.name().into(),
        message: format!("there is no entry point '{entry}'"),
    })?;
    let mut walk = Walk { module, entry, summaries: HashMap::new(), barriers: BTreeSet::new() };
    let arguments = point.function.arguments.iter().map(|argument| walk.builtin(argument)).collect::<Vec<_>>();
    let pointees = vec![None; arguments.len()];
    walk.function(&point.function, arguments, pointees, None)?;
    Ok(walk.barriers.len())
}

impl<'a> Walk<'a> {
    /// Whether an argument of the entry point varies. A struct of builtins varies when any of them does.
    fn builtin(&self, argument: &naga::FunctionArgument) -> Varies {
        let one = |binding: &Option<Binding>| match binding {
            Some(Binding::BuiltIn(
                BuiltIn::WorkGroupId | BuiltIn::WorkGroupSize | BuiltIn::NumWorkGroups | BuiltIn::NumSubgroups,
            )) => None,
            Some(Binding::BuiltIn(builtin)) => Some(Rc::from(wgsl_name(*builtin))),
            _ => Some(Rc::from("an input of the stage")),
        };
        match &self.module.naga.types[argument.ty].inner {
            naga::TypeInner::Struct { members, .. } => members.iter().find_map(|member| one(&member.binding)),
            _ => one(&argument.binding),
        }
    }

    fn function(
        &mut self,
        function: &'a Function,
        arguments: Vec<Varies>,
        pointees: Vec<Varies>,
        flow: Varies,
    ) -> Result<Summary> {
        let mut frame = Frame {
            function,
            arguments,
            pointees,
            locals: HashMap::new(),
            calls: HashMap::new(),
            returned: None,
            values: HashMap::new(),
            changed: true,
        };
        while frame.changed {
            frame.changed = false;
            frame.values.clear();
            self.block(&mut frame, &function.body, flow.clone())?;
        }
        Ok(Summary { returned: frame.returned, pointees: frame.pointees })
    }

    /// Walks a block that is entered under `flow`; returns the flow at its end and how it can be left before.
    fn block(&mut self, frame: &mut Frame<'a>, block: &'a Block, mut flow: Varies) -> Result<(Varies, Exits)> {
        let mut exits = Exits::default();
        for (statement, &span) in block.span_iter() {
            match statement {
                Statement::Emit(_) | Statement::MemoryBarrier(_) => {}
                Statement::Block(inner) => {
                    let left;
                    (flow, left) = self.block(frame, inner, flow)?;
                    exits = exits.or(left);
                }
                Statement::If { condition, accept, reject } => {
                    let inside = self.branch(frame, *condition, span, &flow);
                    let (after_accept, left) = self.block(frame, accept, inside.clone())?;
                    let (after_reject, right) = self.block(frame, reject, inside)?;
                    let left = left.or(right);
                    if left.any() {
                        flow = flow.or(after_accept).or(after_reject);
                    }
                    exits = exits.or(left);
                }
                Statement::Switch { selector, cases } => {
                    let inside = self.branch(frame, *selector, span, &flow);
                    let (mut left, mut after) = (Exits::default(), inside.clone());
                    for case in cases {
                        let (end, exits) = self.block(frame, &case.body, inside.clone())?;
                        left = left.or(exits);
                        after = after.or(end);
                    }
                    left.breaks = false;
                    if left.any() {
                        flow = flow.or(after);
                    }
                    exits = exits.or(left);
                }
                Statement::Loop { body, continuing, break_if } => {
                    let (mut inside, mut left);
                    let mut next = flow.clone();
                    loop {
                        inside = next;
                        let (end, exits) = self.block(frame, body, inside.clone())?;
                        let (end, more) = self.block(frame, continuing, end)?;
                        left = exits.or(more);
                        next = inside.clone().or(match break_if {
                            Some(condition) => {
                                self.branch(frame, *condition, frame.function.expressions.get_span(*condition), &end)
                            }
                            None => end,
                        });
                        if next.is_some() == inside.is_some() {
                            break;
                        }
                    }
                    if left.returns {
                        flow = flow.or(inside);
                    }
                    exits.returns |= left.returns;
                }
                Statement::Break => exits.breaks = true,
                Statement::Continue => exits.continues = true,
                Statement::Return { value } => {
                    exits.returns = true;
                    if frame.returned.is_none() {
                        frame.returned = flow.clone().or_else(|| value.and_then(|value| self.value(frame, value)));
                    }
                }
                Statement::Kill => exits.returns = true,
                Statement::ControlBarrier(_) => self.barrier("a barrier", span, &flow)?,
                Statement::WorkGroupUniformLoad { pointer, .. } => {
                    let flow = flow.clone().or_else(|| self.value(frame, *pointer));
                    self.barrier("workgroupUniformLoad", span, &flow)?;
                }
                Statement::SubgroupBallot { .. }
                | Statement::SubgroupGather { .. }
                | Statement::SubgroupCollectiveOperation { .. } => {
                    self.barrier("a subgroup operation", span, &flow)?;
                }
                Statement::Store { pointer, value } => {
                    let varies =
                        flow.clone().or_else(|| self.value(frame, *value)).or_else(|| self.value(frame, *pointer));
                    self.taint(frame, *pointer, varies, span);
                }
                Statement::Call { function, arguments, result } => {
                    self.call(frame, *function, arguments, *result, &flow, span)?;
                }
                // Their results vary; their targets are not local variables, or nothing that a branch can test.
                Statement::Atomic { .. }
                | Statement::ImageStore { .. }
                | Statement::ImageAtomic { .. }
                | Statement::RayQuery { .. }
                | Statement::RayPipelineFunction(_)
                | Statement::CooperativeStore { .. } => {}
            }
        }
        Ok((flow, exits))
    }

    /// The flow inside a branch.
    fn branch(&self, frame: &mut Frame<'a>, condition: Handle<Expression>, span: Span, flow: &Varies) -> Varies {
        flow.clone().or_else(|| {
            let why = self.value(frame, condition)?;
            Some(Rc::from(format!("the branch at {} depends on {why}", self.module.origin(span))))
        })
    }

    fn barrier(&mut self, what: &str, span: Span, flow: &Varies) -> Result<()> {
        self.barriers.insert(span.to_range().map_or(0, |range| range.start));
        let Some(why) = flow else { return Ok(()) };
        Err(Error::Shader {
            shader: self.module.name().into(),
            message: format!("{}: {}: {what} in non-uniform control flow: {why}", self.module.origin(span), self.entry),
        })
    }

    fn call(
        &mut self,
        frame: &mut Frame<'a>,
        callee: Handle<Function>,
        arguments: &[Handle<Expression>],
        result: Option<Handle<Expression>>,
        flow: &Varies,
        span: Span,
    ) -> Result<()> {
        let function = &self.module.naga.functions[callee];
        let values: Vec<Varies> = arguments.iter().map(|&argument| self.value(frame, argument)).collect();
        let is_pointer = |i: usize| self.module.naga.types[function.arguments[i].ty].inner.pointer_space().is_some();
        let pointees: Vec<Varies> = (0..arguments.len())
            .map(|i| if is_pointer(i) { self.pointee(frame, arguments[i]) } else { None })
            .collect();
        let mask = |list: &[Varies]| list.iter().rev().fold(0u64, |mask, v| (mask << 1) | u64::from(v.is_some()));
        let context = (callee, mask(&values), mask(&pointees), flow.is_some());
        let summary = match self.summaries.get(&context) {
            Some(summary) => summary.clone(),
            None => {
                let summary = self.function(function, values.clone(), pointees, flow.clone())?;
                self.summaries.insert(context, summary.clone());
                summary
            }
        };
        for (i, (value, pointee)) in values.into_iter().zip(summary.pointees).enumerate() {
            if is_pointer(i) {
                self.taint(frame, arguments[i], pointee.or(value), span);
            }
        }
        if let Some(result) = result {
            let old = frame.calls.insert(result, summary.returned.clone());
            frame.changed |= summary.returned.is_some() && !matches!(old, Some(Some(_)));
        }
        Ok(())
    }

    /// Marks the variable behind a pointer.
    fn taint(&self, frame: &mut Frame<'a>, pointer: Handle<Expression>, varies: Varies, span: Span) {
        let Some(why) = varies else { return };
        let because = |name: &str| Rc::from(format!("'{name}', set at {} ({why})", self.module.origin(span)));
        match root(frame.function, pointer) {
            Some(Root::Local(local)) if !frame.locals.contains_key(&local) => {
                let name = frame.function.local_variables[local].name.as_deref().unwrap_or("a condition");
                frame.locals.insert(local, because(name));
                frame.changed = true;
            }
            Some(Root::Argument(i)) if frame.pointees[i].is_none() => {
                let name = frame.function.arguments[i].name.as_deref().unwrap_or_default();
                frame.pointees[i] = Some(because(name));
                frame.changed = true;
            }
            _ => {}
        }
    }

    /// Whether the memory behind a pointer varies, wherever in it the pointer points.
    fn pointee(&self, frame: &Frame<'a>, pointer: Handle<Expression>) -> Varies {
        match root(frame.function, pointer) {
            Some(Root::Local(local)) => frame.locals.get(&local).cloned(),
            Some(Root::Argument(i)) => frame.pointees[i].clone(),
            Some(Root::Global(global)) => {
                let global = &self.module.naga.global_variables[global];
                let what = match global.space {
                    AddressSpace::Uniform | AddressSpace::Immediate => return None,
                    AddressSpace::Storage { access } if !access.contains(naga::StorageAccess::STORE) => return None,
                    AddressSpace::Storage { .. } => "writable storage",
                    AddressSpace::WorkGroup => "workgroup memory",
                    _ => "private memory",
                };
                Some(Rc::from(format!("'{}' in {what}", global.name.as_deref().unwrap_or_default())))
            }
            None => Some(Rc::from("an unknown pointer")),
        }
    }

    /// Whether a value varies; for a pointer, whether it points to different places.
    fn value(&self, frame: &mut Frame<'a>, expression: Handle<Expression>) -> Varies {
        if let Some(known) = frame.values.get(&expression) {
            return known.clone();
        }
        let function = frame.function;
        let mut any = |parts: &[Handle<Expression>]| parts.iter().find_map(|&part| self.value(frame, part));
        let varies = match &function.expressions[expression] {
            Expression::Literal(_)
            | Expression::Constant(_)
            | Expression::Override(_)
            | Expression::ZeroValue(_)
            | Expression::GlobalVariable(_)
            | Expression::LocalVariable(_)
            | Expression::WorkGroupUniformLoadResult { .. }
            | Expression::ArrayLength(_) => None,
            Expression::Compose { components, .. } => any(components),
            Expression::Access { base, index } => any(&[*base, *index]),
            Expression::AccessIndex { base, .. } => any(&[*base]),
            Expression::Splat { value, .. } => any(&[*value]),
            Expression::Swizzle { vector, .. } => any(&[*vector]),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => any(&[*expr]),
            Expression::Binary { left, right, .. } => any(&[*left, *right]),
            Expression::Select { condition, accept, reject } => any(&[*condition, *accept, *reject]),
            Expression::Relational { argument, .. } => any(&[*argument]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => {
                any(&[Some(*arg), *arg1, *arg2, *arg3].into_iter().flatten().collect::<Vec<_>>())
            }
            Expression::Load { pointer } => any(&[*pointer]).or_else(|| self.pointee(frame, *pointer)),
            Expression::FunctionArgument(i) => frame.arguments[*i as usize].clone(),
            Expression::CallResult(_) => frame.calls.get(&expression).cloned().flatten(),
            Expression::AtomicResult { .. } => Some(Rc::from("the result of an atomic")),
            Expression::SubgroupBallotResult | Expression::SubgroupOperationResult { .. } => {
                Some(Rc::from("the result of a subgroup operation"))
            }
            _ => Some(Rc::from("a value that this check does not know")),
        };
        frame.values.insert(expression, varies.clone());
        varies
    }
}

impl Exits {
    fn or(self, other: Self) -> Self {
        Self {
            breaks: self.breaks || other.breaks,
            continues: self.continues || other.continues,
            returns: self.returns || other.returns,
        }
    }

    fn any(self) -> bool {
        self.breaks || self.continues || self.returns
    }
}

/// `local_invocation_id` of `LocalInvocationId`.
fn wgsl_name(builtin: BuiltIn) -> String {
    let name = format!("{builtin:?}").replace("WorkGroup", "Workgroup");
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

fn root(function: &Function, mut pointer: Handle<Expression>) -> Option<Root> {
    loop {
        match function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => pointer = base,
            Expression::LocalVariable(local) => return Some(Root::Local(local)),
            Expression::FunctionArgument(i) => return Some(Root::Argument(i as usize)),
            Expression::GlobalVariable(global) => return Some(Root::Global(global)),
            _ => return None,
        }
    }
}
