#include "table.h"

PDARTS_DEFINE_TABLES(separable, PDARTS_STORAGE_TABLES, baseline)
