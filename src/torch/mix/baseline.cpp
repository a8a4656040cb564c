#include "table.h"

PDARTS_MIX_DEFINE(baseline)
