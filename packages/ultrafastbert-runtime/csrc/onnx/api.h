// ONNX Runtime's functions in C++: errors are exceptions, and none of these leaves the operator.
#pragma once

#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>

#include "ort_api.h"

namespace ort {

// T, where it is not to be deduced from an argument.
template <class T>
struct Same {
  using Type = T;
};

class Api {
 public:
  explicit Api(const AnyFunction* table) : table_(table) {}

  // Calls an entry. Throws std::runtime_error with ONNX Runtime's message where it fails.
  template <size_t index, class... Arguments>
  void call(Entry<index, Arguments...>, typename Same<Arguments>::Type... arguments) const {
    if (Status* status = function<Status*(Arguments...)>(index)(arguments...)) raise(status);
  }

  // Calls an entry and returns whether it succeeded.
  template <size_t index, class... Arguments>
  bool try_call(Entry<index, Arguments...>, typename Same<Arguments>::Type... arguments) const {
    Status* status = function<Status*(Arguments...)>(index)(arguments...);
    if (status) function<void(Status*)>(release_status)(status);
    return !status;
  }

  // Calls an entry that gives a text, with its arguments up to the text's; false if it fails.
  template <class Entry, class... Arguments>
  bool get_text(Entry entry, std::string& text, Arguments... arguments) const {
    size_t size = 0;  // the 0 at the end included
    if (!try_call(entry, arguments..., nullptr, &size)) return false;
    text.resize(size);
    call(entry, arguments..., text.data(), &size);
    text.resize(text.find('\0'));
    return true;
  }

  Status* status(ErrorCode code, const char* message) const {
    return function<Status*(ErrorCode, const char*)>(create_status)(code, message);
  }

  void release(TensorInfo* info) const { function<void(TensorInfo*)>(release_info)(info); }

 private:
  template <class Function>
  Function* function(size_t index) const {
    return reinterpret_cast<Function*>(table_[index]);
  }

  [[noreturn]] void raise(Status* status) const {
    std::string message = function<const char*(const Status*)>(get_error_message)(status);
    function<void(Status*)>(release_status)(status);
    message.resize(message.find_last_not_of('\n') + 1);  // some end in one
    throw std::runtime_error(message);
  }

  const AnyFunction* table_;
};

// Calls function() and returns null, or what it throws as a status. The title, which the function
// may still change, stands before the message.
template <class Function>
Status* guarded(const Api& api, const std::string& title, Function function) noexcept {
  try {
    function();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return api.status(fail, "FastFeedForward: there is not enough memory");
  } catch (const std::invalid_argument& error) {
    return api.status(invalid_argument, (title + error.what()).c_str());
  } catch (const std::exception& error) {
    return api.status(fail, (title + error.what()).c_str());
  }
}

}  // namespace ort
