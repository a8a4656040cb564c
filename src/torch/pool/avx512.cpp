#include "table.h"

PDARTS_DEFINE_TABLES(pool, PDARTS_WIDE_TABLES, avx512)
