// A part of a network as one autograd function that keeps nothing but its inputs: backward computes the part again, this
// time with a graph, and differentiates that.
//
// Parameters are inputs of the function, so that their gradients go the usual way, through their accumulators and the
// hooks on these, and only those that are wanted are computed.
#include <ATen/Context.h>
#include <ATen/autocast_mode.h>
#include <ATen/ops/_foreach_clone.h>
#include <ATen/ops/_foreach_copy.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "autograd_function.h"
#include "guarded.h"
#include "shim.h"

namespace pdarts::checkpoint {
namespace {

using at::TensorList;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// ---- What a forward pass depends on beside its tensors ----

// The states of the generators that operations on a device draw from.
class RandomStates {
public:
  explicit RandomStates(at::Device device) {
    take(at::globalContext().defaultGenerator(at::kCPU));
    if (!device.is_cpu()) {
      take(at::globalContext().defaultGenerator(device));
    }
  }

  void restore() {
    for (auto &[generator, state] : states_) {
      const std::lock_guard lock(generator.mutex());
      generator.set_state(state);
    }
  }

private:
  std::vector<std::pair<at::Generator, Tensor>> states_;

  void take(at::Generator generator) {
    const std::lock_guard lock(generator.mutex());
    states_.emplace_back(generator, generator.get_state());
  }
};

struct Autocast {
  at::DeviceType device;
  bool enabled;
  at::ScalarType type;
  bool caches;

  static Autocast of(at::DeviceType device) {
    return {device, at::autocast::is_autocast_enabled(device), at::autocast::get_autocast_dtype(device),
            at::autocast::is_autocast_cache_enabled()};
  }

  void set() const {
    at::autocast::set_autocast_enabled(device, enabled);
    at::autocast::set_autocast_dtype(device, type);
    at::autocast::set_autocast_cache_enabled(caches);
  }
};

// Autocast as in `state` while it lives, but without the cache of rounded weights: those rounded without a graph would
// serve passes that need one, and those of a graph would outlive it.
class AutocastScope {
public:
  explicit AutocastScope(const Autocast &state) : outer_(Autocast::of(state.device)) {
    Autocast inner = state;
    inner.caches = false;
    inner.set();
  }
  ~AutocastScope() { outer_.set(); }
  AutocastScope(const AutocastScope &) = delete;
  AutocastScope &operator=(const AutocastScope &) = delete;

private:
  Autocast outer_;
};

// ---- The part of a network ----

// A call's forward pass, owned by its node in the graph.
struct Part : torch::CustomClassHolder {
  pdarts_forward forward;
  void (*release)(void *);
  void *context;
  variable_list parameters, statistics;

  Part(const pdarts_part &part)
      : forward(part.forward), release(part.release), context(part.context) {}
  ~Part() override { release(context); }

  Tensor compute(const variable_list &inputs) const {
    std::vector<const Tensor *> pointers;
    for (const Tensor &input : inputs) {
      pointers.push_back(&input);
    }
    Tensor *output = nullptr;
    if (char *message = forward(context, pointers.data(), pointers.size(), &output)) {
      const std::string text = message;
      free(message);
      TORCH_CHECK(false, text);
    }
    return *std::unique_ptr<Tensor>(output);
  }
};

// What the first computation saw, for the second to be the same.
struct Circumstances : torch::CustomClassHolder {
  RandomStates random;
  Autocast autocast;

  explicit Circumstances(at::Device device) : random(device), autocast(Autocast::of(device.type())) {}
};

// The output with its graph; draws what the first computation drew and leaves the generators as they were.
Tensor compute_again(const Part &part, Circumstances &first, const variable_list &inputs) {
  RandomStates now(inputs[0].device());
  first.random.restore();
  const AutocastScope autocast(first.autocast);
  const at::AutoGradMode with_graph(true);
  const Tensor output = part.compute(inputs);
  now.restore();
  return output;
}

class Checkpoint : public torch::autograd::Function<Checkpoint> {
public:
  // `tensors`: the inputs, then the parameters, which the part knows by itself.
  static Tensor forward(AutogradContext *context, TensorList tensors, c10::intrusive_ptr<Part> part) {
    const variable_list inputs = tensors.slice(0, tensors.size() - part->parameters.size()).vec();
    const auto circumstances = c10::make_intrusive<Circumstances>(inputs[0].device());
    context->save_for_backward(inputs);
    save_object(*context, "part", part);
    save_object(*context, "circumstances", circumstances);
    const AutocastScope autocast(circumstances->autocast);
    return part->compute(inputs);
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    refuse_double_backward("checkpoint");
    const auto part = saved_object<Part>(*context, "part");
    const auto circumstances = saved_object<Circumstances>(*context, "circumstances");
    // Cut off from what computed them.
    variable_list inputs, wanted;
    std::vector<size_t> positions;
    for (const Tensor &saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach());
      if (context->needs_input_grad(inputs.size() - 1)) {
        positions.push_back(inputs.size() - 1);
        wanted.push_back(inputs.back().requires_grad_());
      }
    }
    for (size_t index = 0; index < part->parameters.size(); ++index) {
      if (context->needs_input_grad(inputs.size() + index)) {
        positions.push_back(inputs.size() + index);
        wanted.push_back(part->parameters[index]);
      }
    }
    variable_list results(inputs.size() + part->parameters.size() + 1); // and the part's, undefined
    const variable_list statistics = part->statistics.empty() ? variable_list() : at::_foreach_clone(part->statistics);
    const Tensor output = compute_again(*part, *circumstances, inputs);
    if (output.requires_grad()) {
      const auto computed = torch::autograd::grad({output}, wanted, {gradients[0]}, /*retain_graph=*/std::nullopt,
                                                  /*create_graph=*/false, /*allow_unused=*/true);
      for (size_t index = 0; index < positions.size(); ++index) {
        results[positions[index]] = computed[index];
      }
    }
    if (!statistics.empty()) {
      // After the graph is gone, which may hold them and must not see a change.
      at::_foreach_copy_(part->statistics, statistics);
    }
    return results;
  }
};

variable_list tensors_of(const torch::Tensor *const *tensors, size_t count) {
  variable_list list;
  for (size_t index = 0; index < count; ++index) {
    list.push_back(*tensors[index]);
  }
  return list;
}

} // namespace
} // namespace pdarts::checkpoint

char *pdarts_checkpoint(const pdarts_part *description, torch::Tensor **output) {
  using namespace pdarts::checkpoint;
  return guarded([&] {
    const auto part = c10::make_intrusive<Part>(*description);
    part->parameters = tensors_of(description->parameters, description->num_parameters);
    part->statistics = tensors_of(description->statistics, description->num_statistics);
    variable_list tensors = tensors_of(description->inputs, description->num_inputs);
    TORCH_CHECK(!tensors.empty(), "checkpoint: a part of a network without inputs");
    tensors.insert(tensors.end(), part->parameters.begin(), part->parameters.end());
    *output = new Tensor(Checkpoint::apply(TensorList(tensors), part));
  });
}
