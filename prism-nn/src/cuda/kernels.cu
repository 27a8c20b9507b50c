// The kernels that candle lacks. draw.cuh stands before this text; it is compiled when the program first needs it.

#define WORDS 16 // of a block of the keystream

// out = frozen * M, M ~ Bernoulli(sigmoid(scores)); weight i takes word i of the keystream. A thread takes a block of it.
extern "C" __global__ void masked(unsigned int k0, unsigned int k1, unsigned int k2, unsigned int k3, unsigned int k4,
                                  unsigned int k5, unsigned int k6, unsigned int k7, const float *scores,
                                  const float *frozen, float *out, unsigned int count) {
    const unsigned int key[8] = {k0, k1, k2, k3, k4, k5, k6, k7};
    unsigned int block = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned int first = block * WORDS, words[WORDS];
    if (first >= count) return;
    chacha20(key, block, words);
    for (unsigned int i = 0; i < WORDS && first + i < count; i++) {
        out[first + i] = keeps(words[i], sigmoid(scores[first + i])) ? frozen[first + i] : 0.0f;
    }
}

// out = gradient * frozen * theta * (1 - theta), theta = sigmoid(scores).
extern "C" __global__ void masked_gradient(const float *scores, const float *frozen, const float *gradient, float *out,
                                           unsigned int count) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float theta = sigmoid(scores[i]);
    out[i] = gradient[i] * frozen[i] * (theta * (1.0f - theta));
}

// moment = keep * moment + take * gradient, or the gradient's square.
extern "C" __global__ void adam_moment(float *moment, const float *gradient, float keep, float take, unsigned int square,
                                       unsigned int count) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float g = gradient[i];
    moment[i] = keep * moment[i] + take * (square ? g * g : g);
}

// parameter = parameter - rate * first / (sqrt(second / correction) + epsilon).
extern "C" __global__ void adam_step(float *parameter, const float *first, const float *second, float rate,
                                     float correction, float epsilon, unsigned int count) {
    unsigned int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    parameter[i] -= rate * first[i] / (sqrtf(second[i] / correction) + epsilon);
}
