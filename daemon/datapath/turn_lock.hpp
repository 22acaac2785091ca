#pragma once
// A lock that one thread gives away for a moment at every turn: who waits for it gets it then. A plain mutex would
// stay with the thread that is awake.

#include <mutex>

namespace overlay::datapath {

class TurnLock {
  public:
    void lock() {
        const std::scoped_lock next{next_};   // who comes back for another turn waits here
        turn_.lock();
    }
    void unlock() { turn_.unlock(); }

  private:
    std::mutex next_, turn_;
};

}  // namespace overlay::datapath
