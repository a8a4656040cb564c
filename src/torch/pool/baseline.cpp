#include "table.h"

PDARTS_POOL_DEFINE(baseline)
