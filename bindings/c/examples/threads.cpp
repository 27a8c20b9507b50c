// Draws from one model in several threads, and says whether all drew the same:  threads MODEL

#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "prism.h"

namespace {

struct Free {
    void operator()(PrismModel *model) const { prism_model_free(model); }
};
using Model = std::unique_ptr<PrismModel, Free>;

void check(PrismStatus status) {
    if (status != PRISM_STATUS_OK) throw std::runtime_error(prism_last_error());
}

Model open(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    PrismModel *model = nullptr;
    check(prism_model_open(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size(), &model));
    return Model(model);
}

std::vector<uint8_t> draw(const PrismModel &model, std::size_t count) {
    PrismShape shape;
    check(prism_model_shape(&model, &shape));
    std::vector<uint8_t> pixels(count * shape.bytes);
    PrismRequest request{};
    request.count = count;
    request.precision = PRISM_I16;
    request.threads = 1;
    check(prism_model_sample(&model, &request, pixels.data(), pixels.size()));
    return pixels;
}

}  // namespace

int main(int argc, char **argv) try {
    if (argc != 2) throw std::runtime_error("say threads MODEL");
    const Model model = open(argv[1]);
    std::vector<std::vector<uint8_t>> drawn(3);
    std::vector<std::thread> threads;
    for (auto &pixels : drawn) threads.emplace_back([&] { pixels = draw(*model, 4); });
    for (auto &thread : threads) thread.join();
    const bool same = drawn[0] == drawn[1] && drawn[1] == drawn[2];
    std::printf("%s: %s\n", prism_model_info(model.get()), same ? "the same in all threads" : "DIFFERENT");
    return same ? 0 : 1;
} catch (const std::exception &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
}
