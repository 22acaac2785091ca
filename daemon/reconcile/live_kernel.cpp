#include "daemon/reconcile/live_kernel.hpp"

namespace overlay {

Result<KernelState> LiveKernel::snapshot() {
    auto state = kernel_.snapshot(secrets_);
    if (!state) return state;
    if (const auto added = overlayd_.add_to(*state, secrets_); !added) return pass_on(added);
    return state;
}

Result<void> LiveKernel::execute(const Step& step) {
    if (!overlayd_.carries(step)) return kernel_.execute(step, secrets_);
    if (const auto* create_step = std::get_if<CreateLink>(&step)) return create(*create_step);
    if (const auto* change_step = std::get_if<ChangeLink>(&step)) return change(*change_step);
    if (const auto* rename_step = std::get_if<RenameLink>(&step)) return rename(*rename_step);
    if (const auto* delete_step = std::get_if<DeleteLink>(&step)) return remove(*delete_step);
    return overlayd_.carry_out(step, secrets_);
}

/// The device first, since overlayd opens what is there.
Result<void> LiveKernel::create(const CreateLink& step) {
    if (const auto made = kernel_.execute(step, secrets_); !made) return made;
    const auto taken = overlayd_.carry_out(step, secrets_);
    if (!taken) (void)kernel_.execute(DeleteLink{step.link}, secrets_);   // the first failure is the story
    return taken;
}

/// overlayd lets go first; of what the kernel will not delete it takes hold again.
Result<void> LiveKernel::remove(const DeleteLink& step) {
    auto lifted = overlayd_.lift(step.link.name);
    if (!lifted) {   // it may know nothing of a device whose maker died, or not run at all
        if (const auto forgotten = overlayd_.carry_out(step, secrets_); !forgotten) return forgotten;
        return kernel_.execute(step, secrets_);
    }
    const auto removed = kernel_.execute(step, secrets_);
    const bool was_carried = lifted->link.kind == LinkKind::Tun || lifted->link.gretap;
    if (!removed && was_carried) (void)overlayd_.put_down(step.link.name, std::move(*lifted));
    return removed;
}

Result<void> LiveKernel::rename(const RenameLink& step) {
    auto lifted = overlayd_.lift(step.from);
    if (!lifted) return pass_on(lifted);
    const auto renamed = kernel_.execute(step, secrets_);
    const auto taken = overlayd_.put_down(renamed ? step.to : step.from, std::move(*lifted));
    return renamed ? taken : renamed;
}

Result<void> LiveKernel::change(const ChangeLink& step) {
    if (const auto done = overlayd_.carry_out(step, secrets_); !done) return done;
    ChangeLink rest = step;
    rest.from.gretap.reset();
    rest.to.gretap.reset();
    if (rest.from == rest.to) return {};
    return kernel_.execute(rest, secrets_);
}

}  // namespace overlay
