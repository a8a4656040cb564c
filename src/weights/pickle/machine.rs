//! The stack machine: opcodes to values.
//!
//! Source: Python's `pickletools`, which describes every opcode.

use std::borrow::Cow;
use std::collections::HashMap;

use super::build::{self, Global};
use super::cursor::{Cursor, text};
use super::value::{Id, Value, Values};
use crate::weights::WeightsProblem;

/// Values and their parts: some hundred for each tensor of a state dict with its optimizer's, so enough for any
/// network, and an end to a pickle that does nothing but push or copy.
pub const MOST_VALUES: usize = 8_000_000;

/// Newest protocol that is known.
const NEWEST_PROTOCOL: u8 = 5;

/// Runs the pickle at `cursor`, and leaves the cursor behind it.
///
/// # Errors
/// A pickle that is cut off or contradicts itself, an object or opcode that weights do not need.
pub fn load<'a>(cursor: &mut Cursor<'a>) -> Result<Values<'a>, WeightsProblem> {
    let mut machine = Machine {
        cursor: *cursor,
        arena: Vec::new(),
        num_values: 0,
        stack: Vec::new(),
        marks: vec![0],
        memo: HashMap::new(),
    };
    while machine.step()? {}
    *cursor = machine.cursor;
    let root = machine.pop()?;
    Ok(Values { arena: machine.arena, root })
}

/// The state of a run.
pub struct Machine<'a> {
    cursor: Cursor<'a>,
    /// Every value made so far.
    pub(super) arena: Vec<Value<'a>>,
    /// Against [`MOST_VALUES`].
    num_values: usize,
    stack: Vec<Id>,
    /// Heights of the stack below which the opcodes of now may not reach; the first is its floor.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; false after the last.
    fn step(&mut self) -> Result<bool, WeightsProblem> {
        let at = self.cursor.position();
        match self.cursor.byte()? {
            b'.' => return Ok(false),
            0x80 => self.protocol()?,
            0x95 => drop(self.cursor.array::<8>()?), // frame: only for buffered reading
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_to_mark()?),
            b'2' => self.stack.push(self.top()?),
            code @ (b'q' | b'r' | b'h' | b'j' | 0x94) => self.memo_opcode(code)?,
            code @ (b')' | b't' | 0x85..=0x87 | b']' | b'a' | b'e' | b'l' | b'}' | b's' | b'u' | b'd') => {
                self.container_opcode(code)?;
            }
            code @ (b'c' | 0x93 | b'R' | b'b' | b'Q') => self.object_opcode(code)?,
            code => match self.plain_value(code)? {
                Some(value) => self.push(value)?,
                None => {
                    return Err(WeightsProblem::unsupported(format!(
                        "its pickle uses the opcode 0x{code:02x} (at byte {at}), which no state dict needs; save only \
                         the weights: torch.save(model.state_dict(), FILE)"
                    )));
                }
            },
        }
        Ok(true)
    }

    fn protocol(&mut self) -> Result<(), WeightsProblem> {
        match self.cursor.byte()? {
            0..=NEWEST_PROTOCOL => Ok(()),
            newer => Err(WeightsProblem::unsupported(format!(
                "its pickle has protocol {newer}; this program reads up to {NEWEST_PROTOCOL}"
            ))),
        }
    }

    /// The value that `code` pushes, if it is one of those that push numbers, text or bytes.
    fn plain_value(&mut self, code: u8) -> Result<Option<Value<'a>>, WeightsProblem> {
        let cursor = &mut self.cursor;
        Ok(Some(match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(cursor.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(cursor.array()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(cursor.array()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(cursor.array()?)),
            0x8a => long(self.short()?),
            0x8b => long(self.medium()?),
            b'X' => Value::Text(text(self.medium()?)?),
            0x8c => Value::Text(text(self.short()?)?),
            0x8d => Value::Text(text(self.large()?)?),
            b'B' => Value::Bytes(Cow::Borrowed(self.medium()?)),
            b'C' => Value::Bytes(Cow::Borrowed(self.short()?)),
            0x8e | 0x96 => Value::Bytes(Cow::Borrowed(self.large()?)),
            b'T' => python2_string(self.medium()?),
            b'U' => python2_string(self.short()?),
            _ => return Ok(None),
        }))
    }

    /// Bytes behind their length in one byte.
    fn short(&mut self) -> Result<&'a [u8], WeightsProblem> {
        let length = self.cursor.byte()?;
        self.cursor.take(length.into())
    }

    /// Bytes behind their length in four bytes.
    fn medium(&mut self) -> Result<&'a [u8], WeightsProblem> {
        let length = u32::from_le_bytes(self.cursor.array()?);
        self.cursor.take(length.into())
    }

    /// Bytes behind their length in eight bytes.
    fn large(&mut self) -> Result<&'a [u8], WeightsProblem> {
        let length = u64::from_le_bytes(self.cursor.array()?);
        self.cursor.take(length)
    }

    fn memo_opcode(&mut self, code: u8) -> Result<(), WeightsProblem> {
        let key = match code {
            b'q' | b'h' => self.cursor.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.cursor.array()?),
            _ => self.memo.len() as u32,
        };
        if matches!(code, b'h' | b'j') {
            let id = self.memo.get(&key).ok_or_else(|| WeightsProblem::damaged("it recalls a value it never kept"))?;
            self.stack.push(*id);
        } else {
            self.memo.insert(key, self.top()?);
        }
        Ok(())
    }

    fn container_opcode(&mut self, code: u8) -> Result<(), WeightsProblem> {
        match code {
            b')' => self.push(Value::Tuple(Vec::new())),
            0x85..=0x87 => {
                let start =
                    self.stack.len().checked_sub(usize::from(code - 0x84)).filter(|start| *start >= self.floor());
                let items = self.stack.split_off(start.ok_or_else(too_few)?);
                self.push(Value::Tuple(items))
            }
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items))
            }
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(&items)
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Dict(Vec::new()))?;
                self.set_items(&items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])
            }
            _ => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)
            }
        }
    }

    fn append(&mut self, items: &[Id]) -> Result<(), WeightsProblem> {
        let top = self.top()?;
        match &mut self.arena[top] {
            Value::List(list) => list.extend_from_slice(items),
            other => return Err(WeightsProblem::damaged(format!("it appends to {}", other.type_name()))),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), WeightsProblem> {
        let top = self.top()?;
        let (pairs, rest) = items.as_chunks::<2>();
        match &mut self.arena[top] {
            Value::Dict(dict) if rest.is_empty() => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Value::Dict(_) => return Err(WeightsProblem::damaged("a key in it has no value")),
            other => return Err(WeightsProblem::damaged(format!("it sets items of {}", other.type_name()))),
        }
        Ok(())
    }

    fn object_opcode(&mut self, code: u8) -> Result<(), WeightsProblem> {
        match code {
            b'c' => {
                let (module, name) = (self.cursor.line()?, self.cursor.line()?);
                self.push(Value::Global(Global::find(module, name)?))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.arena[module], &self.arena[name]) {
                    (Value::Text(module), Value::Text(name)) => {
                        let global = Global::find(module, name)?;
                        self.push(Value::Global(global))
                    }
                    _ => Err(WeightsProblem::damaged("the name of an object is not a text")),
                }
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let value = build::call(self, callable, arguments)?;
                self.push(value)
            }
            b'b' => {
                let (state, object) = (self.pop()?, self.top()?);
                build::set_state(self, object, state)
            }
            _ => {
                let id = self.pop()?;
                let storage = build::persistent(self, id)?;
                self.push(Value::Storage(Box::new(storage)))
            }
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), WeightsProblem> {
        self.num_values += 1 + value.num_parts();
        if self.num_values > MOST_VALUES {
            return Err(WeightsProblem::unsupported(format!(
                "it has more than {MOST_VALUES} values: not only weights"
            )));
        }
        self.stack.push(self.arena.len());
        self.arena.push(value);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, WeightsProblem> {
        self.stack.get(self.floor()..).and_then(<[Id]>::last).copied().ok_or_else(too_few)
    }

    fn pop(&mut self) -> Result<Id, WeightsProblem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, WeightsProblem> {
        if self.marks.len() < 2 {
            return Err(WeightsProblem::damaged("it closes a group that it never opened"));
        }
        let mark = self.marks.pop().unwrap_or(0);
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }
}

fn too_few() -> WeightsProblem {
    WeightsProblem::damaged("it uses values that it never made")
}

fn long(bytes: &[u8]) -> Value<'_> {
    if bytes.len() > 8 {
        return Value::Long;
    }
    let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut padded = [sign; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(padded))
}

/// Python 2 has one type for text and bytes.
fn python2_string(bytes: &[u8]) -> Value<'_> {
    text(bytes).map_or(Value::Bytes(Cow::Borrowed(bytes)), Value::Text)
}
