"""Pure radiomics: features of regions, their change, and the Dynamic Heterogeneity Index."""
