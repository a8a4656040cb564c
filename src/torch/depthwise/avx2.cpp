#include "table.h"

PDARTS_DEFINE_TABLES(depthwise, PDARTS_DEPTHWISE_TABLES, avx2)
