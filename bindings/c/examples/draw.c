/* Draws images into a picture, one below the other:  draw MODEL OUT.ppm [COUNT [SEED [LABEL]]] */

#include <stdio.h>
#include <stdlib.h>

#include "prism.h"

static int fail(const char *what) {
    fprintf(stderr, "error: %s\n", what);
    return 1;
}

static int save(const char *path, const PrismShape *shape, size_t count, const uint8_t *pixels) {
    FILE *out = fopen(path, "wb");
    if (!out) return fail("the picture cannot be written");
    fprintf(out, "P%d\n%u %zu\n255\n", shape->channels == 1 ? 5 : 6, shape->size, count * shape->size);
    size_t written = fwrite(pixels, shape->bytes, count, out);
    return fclose(out) == 0 && written == count ? 0 : fail("the picture cannot be written");
}

int main(int argc, char **argv) {
    if (argc < 3) return fail("say draw MODEL OUT.ppm [COUNT [SEED [LABEL]]]");
    PrismModel *model;
    if (prism_model_open_file(argv[1], &model) != PRISM_STATUS_OK) return fail(prism_last_error());
    PrismShape shape;
    prism_model_shape(model, &shape);
    PrismRequest request = {
        .count = argc > 3 ? strtoul(argv[3], NULL, 10) : 8,
        .seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 0,
        .label = argc > 5 ? argv[5] : NULL,
        .precision = PRISM_I16,
    };
    uint8_t *pixels = calloc(request.count, shape.bytes);
    int code;
    if (!pixels) {
        code = fail("there is not enough memory");
    } else if (prism_model_sample(model, &request, pixels, request.count * shape.bytes) != PRISM_STATUS_OK) {
        code = fail(prism_last_error());
    } else {
        code = save(argv[2], &shape, request.count, pixels);
    }
    free(pixels);
    prism_model_free(model);
    return code;
}
