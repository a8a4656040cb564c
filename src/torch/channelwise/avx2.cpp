#include "table.h"

PDARTS_CHANNELWISE_DEFINE(avx2)
