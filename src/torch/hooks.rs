//! Calls when backward has left a parameter's gradient there, so that it can be sent while backward goes on.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process;
use std::ptr;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{TorchError, take_message};

type Ready = Box<dyn Fn(usize) -> ControlFlow<()> + Send + Sync>;

unsafe extern "C" {
    fn pdarts_on_gradient(
        parameter: *const C_tensor,
        ready: extern "C" fn(*const c_void, usize) -> bool,
        context: *const c_void,
        index: usize,
        hook: *mut *mut c_void,
    ) -> *mut c_char;
    fn pdarts_release_hook(hook: *mut c_void);
}

/// Hooks on the gradients of several parameters, until dropped.
pub struct GradientHooks {
    hooks: Vec<*mut c_void>,
    /// What the hooks point to.
    _ready: Box<Ready>,
}

// SAFETY: the pointers are owned handles that only `drop` uses, on any thread; what the hooks point to is `Send`.
unsafe impl Send for GradientHooks {}

impl GradientHooks {
    /// From now on calls `ready(i)` when the gradient of `parameters[i]` is complete in a backward pass, on the thread
    /// of autograd that computed it. Where it breaks, the pass fails. `ready` must be quick; a panic in it ends the process.
    ///
    /// # Errors
    /// When a parameter needs no gradient.
    pub fn new(
        parameters: &[&Tensor],
        ready: impl Fn(usize) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Result<Self, TorchError> {
        let ready: Box<Ready> = Box::new(Box::new(ready));
        let mut hooks = Self { hooks: Vec::with_capacity(parameters.len()), _ready: ready };
        for (index, parameter) in parameters.iter().enumerate() {
            let context = ptr::from_ref::<Ready>(&hooks._ready).cast();
            let mut hook = ptr::null_mut();
            // SAFETY: the parameter lives; the context lives as long as the hooks, which `drop` releases first.
            take_message(unsafe { pdarts_on_gradient(parameter.as_ptr(), call, context, index, &mut hook) })?;
            hooks.hooks.push(hook);
        }
        Ok(hooks)
    }
}

impl Drop for GradientHooks {
    fn drop(&mut self) {
        for hook in self.hooks.drain(..) {
            // SAFETY: a handle that the shim gave out and that is released once. No backward pass runs meanwhile that
            // could call it: whoever owns the hooks has the passes computed and waits for them.
            unsafe { pdarts_release_hook(hook) };
        }
    }
}

extern "C" fn call(context: *const c_void, index: usize) -> bool {
    // SAFETY: the context that `new` gave, which is dropped after the hooks; it may be called from any thread (`Sync`).
    let ready = unsafe { &*context.cast::<Ready>() };
    match catch_unwind(AssertUnwindSafe(|| ready(index))) {
        Ok(goes_on) => goes_on.is_continue(),
        // The panic hook has reported it; unwinding through libtorch is not possible.
        Err(_) => process::abort(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn parameters_report_in_the_order_of_backward_while_hooks_live() {
        let parameter = |value: f64| Tensor::full([2], value, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (first, second, unused) = (parameter(1.0), parameter(2.0), parameter(3.0));
        let loss = || ((&first * 2.0).relu() * &second).sum(Kind::Float);
        let reported = Arc::new(Mutex::new(Vec::new()));
        let hooks = {
            let reported = Arc::clone(&reported);
            let ready = move |index| {
                reported.lock().unwrap().push(index);
                ControlFlow::Continue(())
            };
            GradientHooks::new(&[&first, &second, &unused], ready).unwrap()
        };
        loss().backward();
        assert_eq!(reported.lock().unwrap().drain(..).collect::<Vec<_>>(), [1, 0]);
        // A parameter that is not trained for a while reports again afterwards.
        let _ = first.set_requires_grad(false);
        loss().backward();
        assert_eq!(reported.lock().unwrap().drain(..).collect::<Vec<_>>(), [1]);
        let _ = first.set_requires_grad(true);
        loss().backward();
        assert_eq!(reported.lock().unwrap().drain(..).collect::<Vec<_>>(), [1, 0]);
        drop(hooks);
        loss().backward();
        assert!(reported.lock().unwrap().is_empty());
    }

    #[test]
    fn pass_fails_where_a_hook_breaks() {
        let parameter = |value: f64| Tensor::full([2], value, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (first, second) = (parameter(1.0), parameter(2.0));
        let _hooks = GradientHooks::new(&[&second], |_| ControlFlow::Break(())).unwrap();
        let error = ((&first * 2.0).relu() * &second).sum(Kind::Float).f_backward().unwrap_err().to_string();
        assert!(error.contains("ended after a gradient"), "{error}");
        assert!(second.grad().defined() && !first.grad().defined());
    }

    #[test]
    fn tensor_without_gradient_is_refused() {
        let fixed = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        assert!(
            GradientHooks::new(&[&fixed], |_| ControlFlow::Continue(()))
                .err()
                .unwrap()
                .to_string()
                .contains("needs no gradient")
        );
    }
}
