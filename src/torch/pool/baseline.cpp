#include "table.h"

PDARTS_DEFINE_TABLES(pool, PDARTS_STORAGE_TABLES, baseline)
