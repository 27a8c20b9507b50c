// What decides a mask bit, in plain C: the same words, the same probability and the same comparison as on the CPU, so that the
// masks of a seed are the same bits on both. Must be compiled without contraction of a * b + c into one rounding.

// One block of the ChaCha20 keystream (RFC 8439): key of 8 words, counter from 0, nonce 0.
HOST_DEVICE static inline unsigned int rotate(unsigned int x, int n) { return (x << n) | (x >> (32 - n)); }

HOST_DEVICE static inline void quarter(unsigned int *a, unsigned int *b, unsigned int *c, unsigned int *d) {
    *a += *b; *d = rotate(*d ^ *a, 16);
    *c += *d; *b = rotate(*b ^ *c, 12);
    *a += *b; *d = rotate(*d ^ *a, 8);
    *c += *d; *b = rotate(*b ^ *c, 7);
}

HOST_DEVICE static inline void chacha20(const unsigned int *key, unsigned int counter, unsigned int *out) {
    unsigned int start[16], x[16];
    start[0] = 0x61707865u; start[1] = 0x3320646eu; start[2] = 0x79622d32u; start[3] = 0x6b206574u;
    for (int i = 0; i < 8; i++) start[4 + i] = key[i];
    start[12] = counter; start[13] = 0; start[14] = 0; start[15] = 0;
    for (int i = 0; i < 16; i++) x[i] = start[i];
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 4; i++) quarter(x + i, x + 4 + i, x + 8 + i, x + 12 + i);
        for (int i = 0; i < 4; i++) quarter(x + i, x + 4 + (i + 1) % 4, x + 8 + (i + 2) % 4, x + 12 + (i + 3) % 4);
    }
    for (int i = 0; i < 16; i++) out[i] = x[i] + start[i];
}

// 2^n for -126 <= n <= 127.
HOST_DEVICE static inline float power_of_two(int n) {
    union { unsigned int bits; float value; } x;
    x.bits = (unsigned int)(n + 127) << 23;
    return x.value;
}

// exp(x), with the roundings of libm's expf: x = k ln 2 + r; exp(r) = 1 + r + r c / (2 - c), c = r - r^2 P(r^2).
// Beyond -87.3 it is so small that a probability no longer sees it: 0 here.
HOST_DEVICE static inline float exponential(float x) {
    const float ln2_high = 6.9314575195e-01f, ln2_low = 1.4286067653e-06f, per_ln2 = 1.4426950216e+00f;
    float magnitude = x < 0 ? -x : x;
    if (x > 88.722839f) return x * power_of_two(127);
    if (x < -87.33655f) return 0.0f;
    if (!(magnitude > 1.220703125e-4f)) return 1.0f + x;
    int k = 0;
    if (magnitude > 1.0397205f) k = (int)(per_ln2 * x + (x < 0 ? -0.5f : 0.5f));
    else if (magnitude > 0.34657359f) k = x < 0 ? -1 : 1;
    float high = x, low = 0.0f, r = x;
    if (k != 0) {
        high = x - (float)k * ln2_high;
        low = (float)k * ln2_low;
        r = high - low;
    }
    float square = r * r;
    float c = r - square * (1.6666625440e-1f + square * -2.7667332906e-3f);
    float y = 1.0f + (r * c / (2.0f - c) - low + high);
    return y * power_of_two(k / 2) * power_of_two(k - k / 2);
}

HOST_DEVICE static inline float sigmoid(float score) { return 1.0f / (1.0f + exponential(-score)); }

// Whether a 32-bit draw is below floor(theta 2^32). False where theta is not a number.
HOST_DEVICE static inline bool keeps(unsigned int draw, float theta) {
    float limit = theta * 4294967296.0f;
    return limit >= 1.0f && (unsigned long long)draw < (unsigned long long)limit;
}
