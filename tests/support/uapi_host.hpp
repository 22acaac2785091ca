#pragma once
// A socket's owner for tests of the UAPI: remembers what it was told, and refuses when told to.

#include "daemon/wireguard/uapi.hpp"

namespace overlay::wireguard {

class FakeUapiHost final : public UapiHost {
  public:
    [[nodiscard]] SocketSettings socket_settings() const override { return settings; }
    [[nodiscard]] int change_socket(const SocketSettings& wanted) override {
        ++changes;
        if (refusal != 0) return refusal;
        settings = wanted;
        if (wanted.listen_port == 0) settings.listen_port = 40000;
        return 0;
    }
    [[nodiscard]] std::uint32_t interface_index(const std::string& name) const override {
        return name == "lo" ? 1 : 0;
    }

    SocketSettings settings{};
    int refusal = 0;
    int changes = 0;
};

}  // namespace overlay::wireguard
