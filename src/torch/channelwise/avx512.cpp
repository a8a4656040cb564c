#include "table.h"

PDARTS_DEFINE_TABLES(channelwise, PDARTS_STORAGE_TABLES, avx512)
