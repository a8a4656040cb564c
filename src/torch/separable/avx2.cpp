#include "table.h"

PDARTS_SEPARABLE_DEFINE(avx2)
