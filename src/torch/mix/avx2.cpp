#include "table.h"

PDARTS_MIX_DEFINE(avx2)
