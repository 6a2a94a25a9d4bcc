// Arrays come from Python as addresses: the cheapest argument, and nothing of PyTorch is needed.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace binding {

using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

inline void check_given(const char* name, Address address) {
  if (!address) throw std::invalid_argument(std::string(name) + " is a null pointer");
}

}  // namespace binding
