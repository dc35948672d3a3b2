// Vectors of floats by the compiler's own vector type, as wide as the machine's registers; intrinsics only where
// it has no operation of its own.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace point_ops {

#if defined(__AVX512DQ__)
constexpr int LANES = 16;
#elif defined(__AVX2__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef int32_t Ints __attribute__((vector_size(LANES * 4)));  // a comparison gives -1 in the lanes where it holds

inline Floats load(const float* from) {
  Floats value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Floats value) { std::memcpy(to, &value, sizeof value); }

inline Floats splat(float value) { return value - Floats{}; }

inline Ints lane_numbers() {
  Ints lanes{};
  for (int lane = 0; lane < LANES; lane++) lanes[lane] = lane;
  return lanes;
}

// With a NaN on either side these give b: the padding of a cloud is NaN and never wins.
inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }
inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }

typedef float Quad __attribute__((vector_size(16)));
#if defined(__clang__)
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(a, b, ...) __builtin_shuffle(a, b, (QuadPlaces){__VA_ARGS__})
typedef int32_t QuadPlaces __attribute__((vector_size(16)));
#endif

// The halves of the lanes against each other until one lane is left.
template <class Combine>
inline float combine(Floats values, Combine both) {
  Quad parts[LANES / 4];
  std::memcpy(parts, &values, sizeof values);
  for (int half = LANES / 8; half > 0; half /= 2) {
    for (int part = 0; part < half; part++) parts[part] = both(parts[part], parts[part + half]);
  }
  const Quad pairs = both(parts[0], MIX(parts[0], parts[0], 2, 3, 0, 1));
  return both(pairs, MIX(pairs, pairs, 1, 0, 3, 2))[0];
}

inline float smallest(Floats values) {
  return combine(values, [](Quad a, Quad b) { return b < a ? b : a; });
}

inline float largest(Floats values) {
  return combine(values, [](Quad a, Quad b) { return b > a ? b : a; });
}

inline float total(Floats values) {
  return combine(values, [](Quad a, Quad b) { return a + b; });
}

// Bit i is lane i of a comparison.
inline uint32_t bits(Ints comparison) {
#if defined(__AVX512DQ__)
  return _mm512_movepi32_mask((__m512i)comparison);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)comparison);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)comparison);
#else
  uint32_t mask = 0;
  for (int lane = 0; lane < LANES; lane++) mask |= uint32_t(comparison[lane] & 1) << lane;
  return mask;
#endif
}

inline int lowest_bit(uint64_t mask) { return __builtin_ctzll(mask); }

// a * b + c, in one rounding where the machine can: never for what has to be bit for bit the definition.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512DQ__)
  return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
  return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
  return (Floats)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}

// e^x for x up to 0, within 1 unit of the last place (polynomial of Cephes, Moshier, 1989); 0 below -87, NaN for NaN.
inline Floats exponential(Floats x) {
  const Floats magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to a whole number, kept in the low bits
  const Floats shifted = x * 1.44269504f + magic, whole = shifted - magic;
  const Floats rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats value = splat(1.9875691500e-4f);
  constexpr float factors[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  for (float factor : factors) value = value * rest + factor;
  value = value * rest * rest + rest + 1;
  Ints exponent;
  std::memcpy(&exponent, &shifted, sizeof exponent);
  const Ints power = (exponent - 0x4b400000 + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &power, sizeof scale);
  return x < -87 ? Floats{} : value * scale;
}

// Four rows of four floats from `from` become columns at `to`; the steps are floats between rows.
inline void transpose_4x4(const float* from, int64_t from_step, float* to, int64_t to_step) {
  Quad rows[4];
  for (int row = 0; row < 4; row++) std::memcpy(&rows[row], from + row * from_step, sizeof(Quad));
  const Quad low01 = MIX(rows[0], rows[1], 0, 4, 1, 5), high01 = MIX(rows[0], rows[1], 2, 6, 3, 7);
  const Quad low23 = MIX(rows[2], rows[3], 0, 4, 1, 5), high23 = MIX(rows[2], rows[3], 2, 6, 3, 7);
  const Quad columns[4] = {MIX(low01, low23, 0, 1, 4, 5), MIX(low01, low23, 2, 3, 6, 7),
                           MIX(high01, high23, 0, 1, 4, 5), MIX(high01, high23, 2, 3, 6, 7)};
  for (int column = 0; column < 4; column++) std::memcpy(to + column * to_step, &columns[column], sizeof(Quad));
}

// The order of these operations, without contraction to fused multiply-adds, is the one of the plain torch definition.
inline Floats squared(Floats dx, Floats dy, Floats dz) { return (dx * dx + dy * dy) + dz * dz; }

#undef MIX

}  // namespace point_ops
